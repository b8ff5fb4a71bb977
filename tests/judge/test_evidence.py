"""The evidence rule: its published vectors, its bound, and how it depends on the counts."""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.errors import InvalidInput
from rollguard.judge import Evidence
from rollguard.judge.binomial import binomial_cdf, clopper_pearson_upper, clopper_pearson_uppers

# baseline calls and failures, current calls and failures, alpha, delta, E in 60-digit arithmetic
VECTORS = [
    (1000, 50, 3, 3, 0.05, 0.0, 843.284317225, True),
    (1000, 50, 5, 5, 0.05, 0.0, 207263.947162, True),
    (1000, 50, 30, 9, 0.05, 0.0, 1795.64082359, True),
    (1000, 50, 40, 8, 0.05, 0.0, 44.7578859385, True),
    (100, 5, 20, 4, 0.05, 0.0, 1.6415781788, False),
    (20, 0, 10, 3, 0.05, 0.0, 3.36423269402, False),
    (10000, 1000, 60, 20, 0.01, 0.05, 120.043138646, True),
    (100, 30, 200, 100, 0.01, 0.0, 43.4737400225, False),
]


@pytest.mark.parametrize(("nb", "fb", "n", "f", "alpha", "delta", "e_value", "present"), VECTORS)
def test_vectors(nb: int, fb: int, n: int, f: int, alpha: float, delta: float, e_value: float, present: bool) -> None:
    """E agrees with 60-digit arithmetic to 1e-9, and so does the decision."""
    test = Evidence(baseline_calls=nb, baseline_failures=fb, alpha=alpha, delta=delta)
    assert math.exp(test.log_e(calls=n, failures=f)) == pytest.approx(e_value, rel=1e-9)
    assert test.present(n, f) is present


@given(st.integers(1, 120), st.data())
def test_binomial_tail_is_exact(n: int, data: st.DataObject) -> None:
    """The tail agrees with the sum of exact terms."""
    k = data.draw(st.integers(0, n - 1))
    p = data.draw(st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000))
    exact = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert binomial_cdf(n, float(p), k) == pytest.approx(float(exact), rel=1e-10, abs=1e-300)


@given(st.integers(1, 10_000_000), st.data())
def test_upper_bounds_meet_their_levels(n: int, data: st.DataObject) -> None:
    """At a bound the tail has the level asked for, to some of the last digits of either, close ones or not."""
    k = data.draw(st.integers(0, n - 1) | st.integers(0, min(n - 1, 5)) | st.integers(max(0, n - 3), n - 1))
    levels = sorted(data.draw(st.lists(st.floats(1e-6, 0.7), min_size=1, max_size=5)))
    levels += [level * 1.01 for level in levels[-1:]]
    bounds = clopper_pearson_uppers(n, k, levels)
    for level, bound in zip(levels, bounds, strict=True):
        for found in (bound, clopper_pearson_upper(n, k, level)):
            below, above = math.nextafter(found, 0.0), math.nextafter(found, 1.0)
            digits = 4 * abs(binomial_cdf(n, below, k) - binomial_cdf(n, above, k))
            assert binomial_cdf(n, found, k) == pytest.approx(level, rel=1e-10, abs=digits)


@given(st.integers(1_000, 10**8), st.floats(1e-6, 0.9), st.floats(-4, 4))
def test_binomial_tail_of_many_calls_is_exact(n: int, p: float, deviations: float) -> None:
    """With many calls too the tail agrees with the sum of its terms in 40-digit arithmetic."""
    k = min(n - 1, max(0, round(n * p + deviations * math.sqrt(n * p * (1 - p)))))
    with mpmath.workdps(40):
        u = mpmath.mpf(p)
        ways = mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)
        term = mpmath.exp(ways + k * mpmath.log(u) + (n - k) * mpmath.log(1 - u))
        total, i = term, k
        while i > 0 and term > total * 1e-16:
            term *= i * (1 - u) / ((n - i + 1) * u)
            total, i = total + term, i - 1
    assert binomial_cdf(n, p, k) == pytest.approx(float(total), rel=1e-10)


@given(st.integers(0, 5000), st.integers(1, 300), st.data())
def test_more_failures_are_never_less_evidence(nb: int, n: int, data: st.DataObject) -> None:
    """One failure more never lowers the e-value; one more in the baseline never makes evidence of none."""
    fb = data.draw(st.integers(0, nb))
    f = data.draw(st.integers(0, n - 1))
    test = Evidence(nb, fb)
    assert test.log_e(n, f) <= test.log_e(n, f + 1) + 1e-9
    if fb < nb and Evidence(nb, fb + 1).present(n, f):
        assert test.present(n, f)


def test_nothing_known_is_no_evidence() -> None:
    """Without a baseline, with one that always failed, or without calls there is no evidence."""
    assert not Evidence(0, 0).present(1000, 1000)
    assert not Evidence(50, 50).present(1000, 1000)
    assert not Evidence(1000, 0).present(0, 0)


def _false_alarm_probability(nb: int, q: float, horizon: int, alpha: float) -> float:
    """Return P(evidence at any of `horizon` checks) of an unchanged tool with failure rate q."""
    total = 0.0
    for fb in range(nb + 1):
        weight = math.exp(
            math.lgamma(nb + 1)
            - math.lgamma(fb + 1)
            - math.lgamma(nb - fb + 1)
            + fb * math.log(q)
            + (nb - fb) * math.log1p(-q)
        )
        if weight < 1e-9:
            continue
        test = Evidence(nb, fb, alpha)
        alive, stopped = {0: 1.0}, 0.0
        for n in range(1, horizon + 1):
            following: dict[int, float] = {}
            for f, p in alive.items():
                following[f] = following.get(f, 0.0) + p * (1 - q)
                following[f + 1] = following.get(f + 1, 0.0) + p * q
            # Evidence grows with f, so the counts that stop are the largest.
            for f in sorted(following, reverse=True):
                if not test.present(n, f):
                    break
                stopped += following.pop(f)
            alive = {f: p for f, p in following.items() if p > 1e-12}
        total += weight * stopped
    return total


@pytest.mark.parametrize(("nb", "q"), [(20, 0.05), (20, 0.3), (100, 0.1)])
def test_unchanged_tools_are_seldom_called_worse(nb: int, q: float) -> None:
    """With a check after each of 100 calls, the exact probability of a false alarm stays below alpha."""
    assert _false_alarm_probability(nb, q, 100, 0.05) <= 0.05


@pytest.mark.parametrize("counts", [(10, 11), (-1, 0), (5, -1)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    """Failures lie between 0 and the calls, on both sides."""
    with pytest.raises(InvalidInput, match="failures"):
        Evidence(*counts)
    with pytest.raises(InvalidInput, match="failures"):
        Evidence(10, 1).log_e(*counts)


@pytest.mark.parametrize("setting", [{"alpha": 0.0}, {"alpha": 0.5}, {"delta": -0.1}, {"delta": 1.0}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    """Alpha lies between 0 and one half, the margin between 0 and 1."""
    with pytest.raises(InvalidInput, match=next(iter(setting))):
        Evidence(10, 1, **setting)
