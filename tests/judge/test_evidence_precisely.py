"""The evidence rule against a second implementation of it, written from its eight steps in 50-digit arithmetic."""

from __future__ import annotations

import math
from functools import reduce

import mpmath
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mpmath import mpf

from rollguard.judge import Evidence
from tests.conftest import examples

K = 20


def _upper(nb: int, fb: int, level: mpf) -> mpf:
    """The u with P(Bin(nb, u) <= fb) = level, by bisection over the sum of its terms."""
    if fb == nb:
        return mpf(1)
    ways = [mpf(math.comb(nb, i)) for i in reversed(range(fb + 1))]
    low, high = mpf(0), mpf(1)
    for _ in range(80):
        u = (low + high) / 2
        odds = u / (1 - u)
        tail = (1 - u) ** nb * reduce(lambda total, way: total * odds + way, ways)
        low, high = (u, high) if tail > level else (low, u)
    return (low + high) / 2


def log_e(nb: int, fb: int, n: int, f: int, alpha: mpf, delta: mpf) -> mpf:
    """Steps 1 to 6 as they are written."""
    g = [mpf(1)] + [mpf("0.7") * ((alpha / 8) / mpf("0.7")) ** (mpf(k - 1) / (K - 1)) for k in range(1, K + 1)]
    kappa = min(max(mpf("0.1") + mpf("0.4") * (mpmath.log10(nb) - 2), mpf("0.05")), mpf("0.75"))
    w = [mpmath.sqrt(g[k] * g[k + 1]) ** (kappa - 1) for k in range(K)]
    c = mpmath.fsum((g[k] - g[k + 1]) * w[k] for k in range(K)) / (alpha - g[K])
    h = [c / each for each in w]
    theta = [min(mpf(1), _upper(nb, fb, g[k + 1]) + delta) for k in range(K)]
    bets = [mpf("0.08") * (mpf("0.95") / mpf("0.08")) ** (mpf(j) / 7) for j in range(8)]
    found = []
    for k in range(K):
        m = mpf(1)
        if theta[k] < 1:
            odds = (1 - theta[k]) / theta[k]
            m = mpmath.fsum((1 + v * odds) ** f * (1 - v) ** (n - f) for v in bets) / 8
        found.append(mpmath.log(m) - mpmath.log(h[k]))
    return min(found) + mpmath.log(1 / alpha)


@given(
    st.integers(1, 250),
    st.integers(0, 400),
    st.sampled_from(["0.001", "0.01", "0.05", "0.1", "0.3"]),
    st.sampled_from(["0", "0.02", "0.1"]),
    st.data(),
)
@examples(15)
def test_two_implementations_agree(nb: int, n: int, alpha: str, delta: str, data: st.DataObject) -> None:
    """E agrees to 1e-9 on any counts and settings."""
    fb = data.draw(st.integers(0, nb) | st.integers(0, min(nb, 5)))
    f = data.draw(st.integers(0, n) | st.integers(0, min(n, 5)))
    with mpmath.workdps(50):
        exact = log_e(nb, fb, n, f, mpf(alpha), mpf(delta))
        ours = Evidence(nb, fb, float(alpha), float(delta)).log_e(n, f)
        assert abs(mpmath.expm1(ours - exact)) < 1e-9


@given(st.integers(0, 5000), st.integers(1, 400), st.sampled_from([0.001, 0.05, 0.3]), st.data())
def test_evidence_stays_with_more_failures(nb: int, n: int, alpha: float, data: st.DataObject) -> None:
    """Evidence at f failures of n is evidence at f + 1."""
    test = Evidence(nb, data.draw(st.integers(0, nb)), alpha)
    f = data.draw(st.integers(0, n - 1))
    assume(test.present(n, f))
    assert test.present(n, f + 1)


def test_the_second_implementation_meets_the_vectors() -> None:
    """The second implementation is itself held to a published vector."""
    with mpmath.workdps(50):
        found = mpmath.exp(log_e(100, 5, 20, 4, mpf("0.05"), mpf(0)))
    assert float(found) == pytest.approx(1.6415781788, rel=1e-10)
