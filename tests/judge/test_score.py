"""Scores of answers: a second implementation, the bound, and what a drop with evidence does."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

from rollguard.judge import Rules, Verdict, Window, differences, judge, replay, score_bucket
from rollguard.judge.score import Scores, scores
from tests.conftest import examples

BETS = [0.08 * (0.95 / 0.08) ** (j / 7) for j in range(8)]
SCORE = Rules(rollback_on_score=True)


def _window(given_scores: list[float], *, calls: int | None = None) -> Window:
    counts: dict[int, int] = {}
    for score in given_scores:
        counts[score_bucket(score)] = counts.get(score_bucket(score), 0) + 1
    total = len(given_scores) if calls is None else calls
    return Window(total, total, scores=tuple(sorted(counts.items())))


def _test(before: list[float], now: list[float], alpha: float = 0.05) -> Scores:
    found = scores(_window(before), _window(now), Rules(), alpha)
    assert found is not None
    return found


@given(st.integers(0, 100), st.floats(0, 1))
def test_a_bucket_holds_its_score(hundredth: int, score: float) -> None:
    """A score of two decimals has a bucket of its own; another one lies between the edges of its bucket."""
    assert score_bucket(hundredth / 100) == 2 * hundredth
    bucket = score_bucket(score)
    assert bucket // 2 / 100 - 1e-12 <= score <= (bucket + 1) // 2 / 100 + 1e-12


def _precisely(before: list[int], now: list[int], alpha: mpf) -> tuple[mpf, mpf]:
    """Steps 1 and 2 as they are written, on points of the grid; the log of M, and L."""
    bets = [mpf("0.08") * (mpf("0.95") / mpf("0.08")) ** (mpf(j) / 7) for j in range(8)]
    low, high = mpf(0), mpf(1)
    for _ in range(60):
        m = (low + high) / 2
        k = mpmath.fsum(mpmath.fprod(1 - v + v * mpf(x) / 100 / m for x in before) for v in bets) / 8
        low, high = (m, high) if k >= 2 / alpha else (low, m)
    upper = 1 - low
    return mpmath.log(
        mpmath.fsum(mpmath.fprod(1 - v + v * (1 - mpf(x) / 100) / upper for x in now) for v in bets) / 8
    ), low


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.lists(st.integers(0, 100), min_size=1, max_size=30))
@examples(5)
def test_two_implementations_agree(before: list[int], now: list[int]) -> None:
    """Bound and evidence agree to 1e-9 with a second implementation in 40-digit arithmetic."""
    with mpmath.workdps(40):
        log_m, bound = _precisely(before, now, mpf("0.05"))
    found = _test([x / 100 for x in before], [x / 100 for x in now])
    assert found.bound == pytest.approx(float(bound), abs=1e-9)
    assert found.log_e == pytest.approx(float(log_m), abs=1e-9)
    assert found.required == math.log(40)


def test_no_scores_as_good_as_before_are_expected_to_make_evidence() -> None:
    """Over all bets and bounds, and scores on three points with a mean within the bound, the factor is at most 1."""
    largest = 0.0
    for v, u in itertools.product(BETS, [k / 50 for k in range(1, 51)]):
        for p, q in itertools.product([k / 20 for k in range(21)], repeat=2):
            loss = p * 1 + (1 - p) * q * 0.3  # 1 with p, else 0.3 with q, else 0
            if loss <= u:
                factor = p * (1 - v + v / u) + (1 - p) * (q * (1 - v + v * 0.3 / u) + (1 - q) * (1 - v))
                largest = max(largest, factor)
    assert largest <= 1 + 1e-12


@pytest.mark.parametrize(("nb", "q"), [(12, 0.1), (40, 0.3)])
def test_unchanged_answers_are_seldom_called_worse(nb: int, q: float) -> None:
    """With a check after each of 40 scores of 0 or 1, the exact probability of evidence stays below alpha."""
    alpha, total = 0.2, 0.0
    for wrong in range(nb + 1):
        baseline = [0.0] * wrong + [1.0] * (nb - wrong)
        alive, stopped = {0: 1.0}, 0.0
        for n in range(1, 41):
            following: dict[int, float] = {}
            for f, chance in alive.items():
                following[f] = following.get(f, 0.0) + chance * (1 - q)
                following[f + 1] = following.get(f + 1, 0.0) + chance * q
            for f in sorted(following, reverse=True):  # evidence grows with f
                found = _test(baseline, [0.0] * f + [1.0] * (n - f), alpha)
                if not found.present:
                    break
                stopped += following.pop(f)
            alive = following
        total += math.comb(nb, wrong) * q**wrong * (1 - q) ** (nb - wrong) * stopped
    assert total <= alpha


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20))
@examples(20)
def test_rounding_and_order_never_make_evidence(before: list[float], now: list[float]) -> None:
    """The order of scores changes nothing, and their places on the grid never make the drop or the evidence larger."""
    found = _test(before, now)
    assert _test(before[::-1], now[::-1]) == found
    assert found.before <= sum(map(Fraction, before)) / len(before) + Fraction(1, 10**9)
    assert found.now >= sum(map(Fraction, now)) / len(now) - Fraction(1, 10**9)
    worse = [max(0.0, score - 0.1) for score in now]
    assert _test(before, worse).log_e >= found.log_e - 1e-9


def test_a_drop_with_evidence_rolls_back_where_that_is_wished() -> None:
    """By default worse answers are a warning; with `rollback_on_score` and evidence they roll back on half of alpha."""
    windows = _window([1.0] * 180 + [0.5] * 20), _window([0.3] * 40)
    told = judge(*windows, Rules())
    assert (told.needs_rollback, told.verdict) == (False, Verdict.HEALTHY)
    assert (told.warning or "").startswith("mean score 0.3 of 40 answers since the deployment, 0.95 of 200 before")
    acted = judge(*windows, SCORE, scheduled=False)
    assert (acted.needs_rollback, acted.rollback_type, acted.verdict) == (True, "score", Verdict.REGRESSED)
    assert acted.evidence.alpha == 0.025
    assert acted.headline.endswith("drop 65 points ≥ 15, evidence e^76.1 ≥ 80")


def test_few_scores_and_small_drops_do_nothing() -> None:
    """Fewer scores than executions are needed, no scores before, or a small drop: neither warning nor rollback."""
    many = [1.0] * 200
    for before, now in ((many, [0.0] * 9), (many[:9], [0.0] * 200), ([], [0.0] * 50), (many, [0.9] * 2_000)):
        found = judge(_window(before, calls=300), _window(now, calls=300), SCORE)
        assert (found.needs_rollback, found.warning) == (False, None)


@pytest.mark.parametrize("rules", [Rules(), SCORE])
def test_such_a_decision_can_be_replayed(rules: Rules) -> None:
    """The record, written as JSON and read back, gives the same decision, bit for bit."""
    made = judge(_window([0.987, 1.0] * 50), _window([0.123, 0.5] * 20), rules)
    again = replay(json.loads(json.dumps(made.record())))
    assert differences(made.record(), again) == []
    assert again.scores == made.scores


def test_scores_add_up_and_are_removed() -> None:
    """Windows of disjoint intervals add up, scores included, and a window without a part of it is the rest."""
    one, two = _window([0.1, 0.1, 0.9]), _window([0.1, 0.555])
    both = one + two
    assert both.scores == ((20, 3), (111, 1), (180, 1))
    assert both.without(one) == two
    assert Window.from_dict(json.loads(json.dumps(both.to_dict()))) == both
