"""The exact test, the q-values and the bound of the risk difference are those of their papers."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.investigate.significance import exact_p, least_difference, q_values


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Failures inside, calls inside, failures, calls."""
    calls = draw(st.integers(1, 60))
    failures, inside = draw(st.integers(0, calls)), draw(st.integers(0, calls))
    within = draw(st.integers(max(0, failures + inside - calls), min(failures, inside)))
    return within, inside, failures, calls


@given(tables())
def test_the_exact_test_is_the_sum_of_the_hypergeometric_terms(table: tuple[int, int, int, int]) -> None:
    """The p-value is the share of all draws with so many failures or more."""
    within, inside, failures, calls = table
    ways = sum(comb(failures, k) * comb(calls - failures, inside - k) for k in range(within, min(inside, failures) + 1))
    assert exact_p(*table) == pytest.approx(ways / comb(calls, inside), rel=1e-9)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    """Each p-value times the tests over its rank, and never more than that of a larger p-value."""
    assert q_values([0.04, 0.01, 0.03], 4) == pytest.approx([0.16 / 3, 0.04, 0.16 / 3])
    assert q_values([0.5], 100) == [1.0]
    assert q_values([], 3) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 50))
def test_q_values_keep_the_order(p_values: list[float], more: int) -> None:
    """A q-value is at least its p-value, at most 1, and rises with it; more tests never make one smaller."""
    tests = len(p_values) + more
    found = q_values(p_values, tests)
    assert all(p <= q <= 1.0 for p, q in zip(p_values, found, strict=True))
    pairs = sorted(zip(p_values, found, strict=True))
    assert [q for _p, q in pairs] == sorted(q for _p, q in pairs)
    assert all(a <= b for a, b in zip(found, q_values(p_values, tests + 1), strict=True))


def test_the_bound_is_newcombes() -> None:
    """The lower bound is that of Newcombe's first example: 56 of 70 against 48 of 80, with 95 % on two sides."""
    assert least_difference(56, 70, 48, 80, z=1.959964) == pytest.approx(0.0524, abs=5e-5)
    assert least_difference(3, 3, 0, 0) < 0.0


@given(tables())
def test_the_bound_is_below_the_difference(table: tuple[int, int, int, int]) -> None:
    """The bound is never above the difference of the two rates."""
    within, inside, failures, calls = table
    if 0 < inside < calls:
        difference = within / inside - (failures - within) / (calls - inside)
        assert least_difference(within, inside, failures - within, calls - inside) <= difference + 1e-12
