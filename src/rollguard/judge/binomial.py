"""The exact binomial tail and the Clopper-Pearson bound, in plain Python so that judging needs no numeric library.

References: Clopper & Pearson 1934; the continued fraction of the incomplete beta function is DLMF 8.17.22, evaluated
by the modified Lentz method.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_EPS = 1e-16
_SETTLED = 1e-14  # relative


def binomial_cdf(n: int, p: float, k: int) -> float:
    """P(Bin(n, p) <= k) = I_{1-p}(n - k, k + 1)."""
    if k >= n or p <= 0.0:
        return 1.0
    if k < 0 or p >= 1.0:
        return 0.0
    return _incomplete_beta(n - k, k + 1, 1.0 - p, p)


def clopper_pearson_upper(n: int, k: int, level: float) -> float:
    """The p with P(Bin(n, p) <= k) = `level`: an upper confidence bound of a rate after `k` of `n`; 1 when k = n."""
    if k >= n:
        return 1.0
    if k == 0:
        return -math.expm1(math.log(level) / n)
    low, high = 0.0, 1.0  # from 0, not from k/n: at levels above one half the bound lies below the rate
    p = (k + 1) / (n + 1)
    log_ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k)
    while True:
        tail = binomial_cdf(n, p, k)
        if tail > level:
            low = p
        else:
            high = p
        # Newton on the log of the tail, whose slope is -(n - k) C(n, k) p^k (1 - p)^(n - k - 1) / tail; where a step
        # would leave the bracket, halve it instead.
        following = (low + high) / 2
        if tail > 0.0:
            slope = math.exp(log_ways + k * math.log(p) + (n - k - 1) * math.log1p(-p)) / tail
            newton = p + (math.log(tail) - math.log(level)) / slope if slope > 0.0 else following
            if low < newton < high:
                following = newton
        if abs(following - p) <= _SETTLED * p or following in (low, high):
            return following
        p = following


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """Regularised incomplete beta I_x(a, b), with y = 1 - x given apart so that a small one keeps its digits."""
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _continued_fraction(b, a, y) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    h = d
    m = 0
    while True:
        m += 1
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + numerator / c
            c = c if abs(c) > _TINY else _TINY
            h *= d * c
        if abs(d * c - 1.0) < _EPS * 4 or m > 100_000:
            return h
