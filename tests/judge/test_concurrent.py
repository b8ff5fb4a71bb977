"""The concurrent rule: its published vectors, a second implementation, its bound, and how units are counted."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

from rollguard.errors import InvalidInput
from rollguard.judge import (
    Arms,
    ConcurrentEvidence,
    Evidence,
    Judgement,
    NotWorse,
    Outcome,
    Rules,
    Stage,
    Unit,
    Verdict,
    Window,
    differences,
    judge,
    replay,
)
from tests.conftest import examples

Stages = Sequence[tuple[float, int, int, int, int]]
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
LIMIT = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
RATES = [1 / (1 + math.exp(-(-7 + 14 * i / 27))) for i in range(28)]
WORSE, NOT_WORSE = (2.0, 4.0, 10.0, 30.0), (1 / 2, 1 / 4, 1 / 10)

# baseline calls and failures, stages of (share, new units and failures, old units and failures), log E
VECTORS: list[tuple[int, int, Stages, float]] = [
    (1000, 50, [(0.5, 10, 8, 10, 0)], 6.132006749),
    (1000, 50, [(0.5, 20, 7, 20, 1)], 2.409969065),
    (1000, 50, [(0.1, 12, 6, 108, 5)], 7.121887154),
    (1000, 50, [(0.1, 12, 6, 108, 5), (0.25, 20, 8, 60, 3)], 13.206048391),
    (0, 0, [(0.5, 20, 7, 20, 1)], 1.354300442),
    (1000, 50, [(0.5, 30, 28, 30, 29)], -3.865015715),
    (200, 0, [(0.5, 6, 6, 6, 0)], 3.592728968),
    (1000, 50, [(0.9, 90, 30, 10, 0)], 2.545966006),
]


@pytest.mark.parametrize(("nb", "fb", "stages", "log_e"), VECTORS)
def test_vectors(nb: int, fb: int, stages: Stages, log_e: float) -> None:
    """Log E agrees with the published values to 1e-9."""
    test = ConcurrentEvidence(baseline_calls=nb, baseline_failures=fb, alpha=0.05)
    assert test.log_e(stages) == pytest.approx(log_e, abs=1e-9)
    assert test.present(stages) is (log_e >= test.required)


def _precisely(nb: int, fb: int, stages: Stages, ratios: Sequence[float], d: float) -> mpf:
    """Steps 1 to 4 as they are written, and the division of `NotWorse` where d is above 0."""
    rates = [1 / (1 + mpmath.exp(-(-7 + mpf(14) * i / 27))) for i in range(28)]
    informed = [q ** (fb + mpf(1) / 2) * (1 - q) ** (nb - fb + mpf(1) / 2) for q in rates]
    total, e = mpmath.fsum(informed), mpf(0)
    for q, weight in zip(rates, informed, strict=True):
        prior = mpf(9) / 10 * weight / total + mpf(1) / 10 / 28
        for c in map(mpf, ratios):
            odds, product = c * q / (1 - q), mpf(1)
            new = odds / (1 + odds)
            for share, n1, f1, n0, f0 in stages:
                r = mpf(share)
                m = r * new + (1 - r) * q
                product *= (new / m) ** f1 * ((1 - new) / (1 - m)) ** (n1 - f1)
                product *= (q / m) ** f0 * ((1 - q) / (1 - m)) ** (n0 - f0)
                product /= (1 - r * mpf(d) * ((1 - new) / (1 - m) - new / m)) ** (n1 + n0)
            e += prior / len(ratios) * product
    return mpmath.log(e)


ARM = st.integers(0, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
STAGES = st.lists(
    st.tuples(st.floats(0.01, 0.99), ARM, ARM).map(lambda s: (s[0], *s[1], *s[2])), min_size=1, max_size=3
)


@given(st.integers(0, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), STAGES)
@examples(5)
def test_two_implementations_agree(baseline: tuple[int, int], stages: Stages) -> None:
    """Both tests agree to 1e-9 with a second implementation in 50-digit arithmetic."""
    with mpmath.workdps(50):
        for ours, ratios, d in (
            (ConcurrentEvidence(*baseline), WORSE, 0.0),
            (NotWorse(*baseline, margin=0.1), NOT_WORSE, 0.1),
        ):
            exact = _precisely(*baseline, stages, ratios, d)
            assert abs(ours.log_e(stages) - exact) < 1e-9 * max(1, abs(exact))


def test_the_second_implementation_meets_the_vectors() -> None:
    """The second implementation is itself held to a published vector."""
    with mpmath.workdps(30):
        nb, fb, stages, log_e = VECTORS[3]
        assert float(_precisely(nb, fb, stages, WORSE, 0.0)) == pytest.approx(log_e, abs=1e-9)


GRID = [0.0, *(10**-k for k in (6, 4, 3, 2)), *(k / 20 for k in range(1, 20)), 0.99, 0.999, 1.0]
SHARES = (0.001, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999)


def _factors(r: float, q: float, c: float, d: float = 0.0) -> tuple[float, float, float, float]:
    """One unit's factor: new and failed, new and succeeded, old and failed, old and succeeded."""
    odds = c * q / (1 - q)
    new = odds / (1 + odds)
    m = r * new + (1 - r) * q
    failed, succeeded = new / m, (1 - new) / (1 - m)
    by = 1 - r * d * (succeeded - failed)
    assert by > 0
    return failed / by, succeeded / by, q / m / by, (1 - q) / (1 - m) / by


def test_no_version_that_is_no_worse_is_expected_to_make_evidence() -> None:
    """Over all bets and shares, and a grid of failure rates p1 <= p0, the expected factor of a unit is at most 1."""
    largest = 0.0
    for r, q, c in itertools.product(SHARES, RATES, WORSE):
        nf, ns, of, os = _factors(r, q, c)
        for p1, p0 in itertools.combinations_with_replacement(GRID, 2):  # the grid rises
            largest = max(largest, r * (p1 * nf + (1 - p1) * ns) + (1 - r) * (p0 * of + (1 - p0) * os))
    assert largest <= 1 + 1e-11


@pytest.mark.parametrize("d", [0.01, 0.15, 1.0])
def test_no_version_that_is_worse_by_d_is_expected_to_be_cleared(d: float) -> None:
    """Over all bets and shares, and a grid of rates p1 >= p0 + d, the expected factor of `NotWorse` is at most 1."""
    largest = 0.0
    for r, q, c in itertools.product(SHARES, RATES, NOT_WORSE):
        nf, ns, of, os = _factors(r, q, c, d)
        for p0 in (p for p in GRID if p + d <= 1):
            for p1 in (p0 + d, (p0 + d + 1) / 2, 1.0):
                largest = max(largest, r * (p1 * nf + (1 - p1) * ns) + (1 - r) * (p0 * of + (1 - p0) * os))
    assert largest <= 1 + 1e-11


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("p", [0.05, 0.9])
def test_the_mean_of_e_is_one_for_equal_versions(share: float, p: float) -> None:
    """Over all outcomes of 12 units, the mean of E itself is 1 where both versions fail equally often."""
    units, test, mean = 12, ConcurrentEvidence(100, 5), 0.0
    for new in range(units + 1):
        for f1, f0 in itertools.product(range(new + 1), range(units - new + 1)):
            old = units - new
            ways = math.comb(units, new) * math.comb(new, f1) * math.comb(old, f0)
            chance = ways * share**new * (1 - share) ** old * p ** (f1 + f0) * (1 - p) ** (units - f1 - f0)
            mean += chance * math.exp(test.log_e([(share, new, f1, old, f0)]))
    assert mean == pytest.approx(1.0, abs=1e-9)


@given(STAGES, st.data())
@examples(20)
def test_stages_of_one_share_are_one_stage(stages: Stages, data: st.DataObject) -> None:
    """Where a stage is split in two, and in which order stages come, changes nothing; shares of 0 and 1 add nothing."""
    share, n1, f1, n0, f0 = stages[0]
    g1, g0 = data.draw(st.integers(0, f1)), data.draw(st.integers(0, f0))
    parts = [(share, g1, g1, g0, g0), (share, n1 - g1, f1 - g1, n0 - g0, f0 - g0)]
    test = ConcurrentEvidence(1000, 50)
    split = [*stages[1:], *parts, (0.0, 0, 0, 5, 5), (1.0, 9, 9, 0, 0)]
    assert test.log_e(split) == pytest.approx(test.log_e(stages), abs=1e-9)
    assert test.log_e([]) == pytest.approx(0.0, abs=1e-12)


@given(STAGES)
@examples(20)
def test_a_failure_of_the_new_version_adds_evidence_and_one_of_the_old_takes_some(stages: Stages) -> None:
    """One more failure in as many units: on the new version E does not fall, on the old one it does not rise."""
    test = ConcurrentEvidence(1000, 50)
    (share, n1, f1, n0, f0), rest = stages[0], stages[1:]
    log_e = test.log_e(stages)
    if f1 < n1:
        assert test.log_e([(share, n1, f1 + 1, n0, f0), *rest]) >= log_e - 1e-9
    if f0 < n0:
        assert test.log_e([(share, n1, f1, n0, f0 + 1), *rest]) <= log_e + 1e-9


def test_an_outage_of_both_is_no_evidence() -> None:
    """Where both versions begin to fail together, the evidence falls, while before and after it is overwhelming."""
    outage = [(0.5, 100, 95, 100, 95)]
    assert ConcurrentEvidence(1000, 50).log_e(outage) < 0
    assert Evidence(1000, 50).present(100, 95)


def test_a_version_as_good_as_the_old_is_cleared() -> None:
    """`NotWorse` finds that a version is not worse by 15 points, and does not where it is worse by 25."""
    test = NotWorse(1000, 50, margin=0.15)
    assert test.present([(0.5, 100, 5, 100, 5)])
    assert not test.present([(0.5, 100, 30, 100, 5)])
    assert not test.present([(0.5, 5, 0, 5, 0)])


@pytest.mark.parametrize("stage", [(-0.1, 1, 0, 1, 0), (1.1, 1, 0, 1, 0), (0.5, 1, 2, 1, 0), (0.5, 1, 0, 1, -1)])
def test_impossible_stages_are_refused(stage: tuple[float, int, int, int, int]) -> None:
    """A share lies between 0 and 1, failures between 0 and the units."""
    with pytest.raises(InvalidInput, match=r"share|failures"):
        ConcurrentEvidence(10, 1).log_e([stage])


def test_impossible_settings_are_refused() -> None:
    """The baseline's counts, alpha and the margin have their ranges."""
    with pytest.raises(InvalidInput, match="baseline"):
        ConcurrentEvidence(10, 11)
    with pytest.raises(InvalidInput, match="alpha"):
        ConcurrentEvidence(10, 1, alpha=0.0)
    with pytest.raises(InvalidInput, match="margin"):
        NotWorse(10, 1, margin=0.0)


# --- units -----------------------------------------------------------------------------------------------------------


def _unit(at: int, *ends: tuple[int, bool], new: bool = True, share: float = 0.5, request: bool = False) -> Unit:
    moments = tuple((AT + second * SECOND, success) for second, success in ends)
    return Unit(AT + at * SECOND, share, new, moments, request)


def test_a_unit_waits_for_those_drawn_before() -> None:
    """Units are counted in the order drawn: what ended is not counted before what was drawn earlier and is open."""
    units = [_unit(0, (1, True)), _unit(1), _unit(2, (3, False)), _unit(3, (4, True), new=False)]
    early = Arms(100, 5).and_units(units, AT + 10 * SECOND, LIMIT)
    assert early.stages == (Stage(0.5, 1, 0, 0, 0),)
    late = early.and_units(units[early.counted :], AT + LIMIT + SECOND, LIMIT)
    assert late.stages == (Stage(0.5, 3, 2, 1, 0),)


def test_what_ends_after_the_limit_has_failed() -> None:
    """A unit that is open at its limit has failed, also when it succeeds later."""
    late = _unit(0, (301, True))
    assert late.outcome(AT + 299 * SECOND, LIMIT) is None
    assert late.outcome(AT + 302 * SECOND, LIMIT) is False


def test_a_request_counts_once_with_its_last_outcome() -> None:
    """A request is final only at its limit, because it may be tried again until then; a call is final when it ends."""
    request = _unit(0, (1, False), (2, True), request=True)
    assert request.outcome(AT + 3 * SECOND, LIMIT) is None
    assert request.outcome(AT + LIMIT, LIMIT) is True
    assert _unit(0, (1, False), (2, True)).outcome(AT + 3 * SECOND, LIMIT) is False


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.5]), st.booleans(), st.integers(0, 400), st.booleans(), st.booleans()),
        max_size=30,
    ),
    st.lists(st.integers(0, 500), max_size=6),
)
def test_looks_change_nothing_that_is_counted(
    drawn: list[tuple[float, bool, int, bool, bool]], looks: list[int]
) -> None:
    """However often it is counted in between, the counts only grow, and in the end are the same."""
    units = [
        _unit(number, (number + took, success), new=new, share=share, request=request)
        for number, (share, new, took, success, request) in enumerate(drawn)
    ]
    arms = Arms(100, 5)
    for look in sorted(looks):
        before, arms = arms, arms.and_units(units[arms.counted :], AT + look * SECOND, LIMIT)
        assert before.counted <= arms.counted
    end = AT + timedelta(hours=1)
    at_once = Arms(100, 5).and_units(units, end, LIMIT)
    assert arms.and_units(units[arms.counted :], end, LIMIT) == at_once
    assert at_once.counted == len(units)
    assert Arms.from_dict(json.loads(json.dumps(at_once.to_dict()))) == at_once


# --- the verdict -----------------------------------------------------------------------------------------------------

BASELINE = Window(1000, 950)
BAD = (Stage(0.1, 12, 6, 108, 5), Stage(0.25, 20, 8, 60, 3))
OUTAGE = (Stage(0.5, 50, 45, 50, 45),)


def _judged(stages: tuple[Stage, ...], current: Window, *, serving: bool = True, **rules: object) -> Judgement:
    return judge(BASELINE, current, Rules(**rules), arms=Arms(1000, 50, stages, serving))


def test_evidence_beside_the_old_version_rolls_back() -> None:
    """While both serve, their comparison rolls back, at any check, on its part of alpha, and says both counts."""
    found = _judged(BAD, Window(32, 18), decision="evidence", rollback_on_slowdown=True)
    assert (found.needs_rollback, found.rollback_type, found.verdict) == (True, "concurrent", Verdict.REGRESSED)
    assert found.arms is not None
    assert found.arms.alpha == found.evidence.alpha == 0.05 / 3
    assert found.headline == (
        "beside each other 14 of 32 units failed on the new version and 8 of 168 on the old one, "
        "evidence 5.436e+05 ≥ 60"
    )
    assert found.headline in found.reasons


def test_an_outage_rolls_back_no_version_beside_the_old_one() -> None:
    """Both fail, so neither a drop, nor evidence, nor a trigger before and after rolls back."""
    failed = [Outcome(AT + number * SECOND, success=False) for number in range(5)]
    for decision in ("threshold", "evidence"):
        found = judge(
            BASELINE,
            Window(50, 5),
            Rules(decision=decision),  # type: ignore[arg-type]
            arms=Arms(1000, 50, OUTAGE),
            outcomes=lambda: failed,
        )
        assert found.evidence.present
        assert (found.needs_rollback, found.trigger, found.verdict) == (False, None, Verdict.INSUFFICIENT_DATA)
        assert "no evidence yet" in (found.warning or "")


def test_after_a_promotion_the_windows_decide_again() -> None:
    """A promoted version is judged before and after, on the part of alpha that was left for that."""
    found = _judged(OUTAGE, Window(50, 5), serving=False, decision="evidence")
    assert (found.needs_rollback, found.rollback_type) == (True, "evidence")
    assert found.evidence.alpha == 0.025
    assert any(reason.startswith("until the new version was promoted") for reason in found.reasons)


@pytest.mark.parametrize(("stages", "current"), [(BAD, Window(32, 18)), (OUTAGE, Window(50, 5)), ((), Window())])
@pytest.mark.parametrize("serving", [True, False])
def test_such_a_decision_can_be_replayed(stages: tuple[Stage, ...], current: Window, serving: bool) -> None:
    """The record, written as JSON and read back, gives the same decision, bit for bit."""
    made = _judged(stages, current, serving=serving, decision="evidence")
    again = replay(json.loads(json.dumps(made.record())))
    assert differences(made.record(), again) == []
    assert again.arms == made.arms
    assert (again.alert, again.warning) == (made.alert, made.warning)
