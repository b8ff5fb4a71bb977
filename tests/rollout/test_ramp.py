"""The state machine of a rollout: what advances, freezes and ends it, and what never happens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.errors import InvalidInput
from rollguard.judge import Arms, Rules, Stage, Window, judge
from rollguard.rollout import Plan, Ramp, Signs, State

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN = Plan((0.1, 0.25, 0.5), 10 * MINUTE, 100, 120 * MINUTE)
RAMP = Ramp.start(PLAN, AT)
BAD, HALF = Signs(0, evidence=True, suspected=True), Signs(0, suspected=True)


def _after(ramp: Ramp, *checks: tuple[int, Signs]) -> Ramp:
    """Each check is made so many minutes after the start."""
    for minutes, signs in checks:
        ramp = ramp.after(signs, AT + minutes * MINUTE)
    return ramp


def test_stages_advance_by_time_and_units() -> None:
    """A stage is over when its time and its units are, both since it began; the end of the last one promotes."""
    assert _after(RAMP, (9, Signs(500))).stage == 0
    assert _after(RAMP, (15, Signs(99))).stage == 0
    second = _after(RAMP, (15, Signs(120)))
    assert (second.stage, second.share, second.state) == (1, 0.25, State.RAMPING)
    assert _after(second, (24, Signs(900))).stage == 1
    assert _after(second, (25, Signs(219))).stage == 1
    last = _after(second, (25, Signs(220)))
    assert (last.stage, last.share) == (2, 0.5)
    done = _after(last, (35, Signs(320)))
    assert (done.state, done.share, done.ended_at) == (State.PROMOTED, 1.0, AT + 35 * MINUTE)


def test_a_check_advances_one_stage() -> None:
    """However long nobody checked, each stage is served."""
    assert _after(RAMP, (100, Signs(10_000))).stage == 1
    assert _after(RAMP, (100, Signs(10_000)), (100, Signs(10_000))).stage == 1


def test_evidence_ends_it() -> None:
    """Evidence gives all to the old version, whatever state both serve in."""
    for ramp in (RAMP, _after(RAMP, (1, HALF)), RAMP.paused()):
        ended = _after(ramp, (2, BAD))
        assert (ended.state, ended.share, ended.ended_at) == (State.ROLLED_BACK, 0.0, AT + 2 * MINUTE)


def test_a_suspicion_freezes_it_and_calm_thaws_it() -> None:
    """It keeps its share while something speaks against it, and goes on when nothing did for the time of a stage."""
    frozen = _after(RAMP, (5, HALF), (15, Signs(500)))
    assert (frozen.state, frozen.stage, frozen.share) == (State.FROZEN, 0, 0.1)
    assert _after(frozen, (24, Signs(500))).state is State.FROZEN
    assert _after(frozen, (20, HALF), (25, Signs(500))).state is State.FROZEN
    thawed = _after(frozen, (25, Signs(500)))
    assert (thawed.state, thawed.stage) == (State.RAMPING, 1)
    assert _after(frozen, (25, Signs(50))).stage == 0  # the stage's units are still missing


def test_a_frozen_one_ends_unproven_at_its_limit() -> None:
    """At the time limit the old version serves all, frozen or only slow."""
    for checks in ((5, HALF), (5, Signs(3))):
        ended = _after(RAMP, checks, (120, checks[1]))
        assert (ended.state, ended.share) == (State.UNPROVEN, 0.0)


def test_a_person_pauses_and_resumes_it() -> None:
    """A paused rollout keeps its share; its stage begins again when it is resumed."""
    paused = _after(RAMP.paused(), (30, Signs(500)), (31, HALF))
    assert (paused.state, paused.stage, paused.share) == (State.PAUSED, 0, 0.1)
    resumed = paused.resumed(AT + 40 * MINUTE)
    assert _after(resumed, (49, Signs(500))).stage == 0
    assert _after(resumed, (50, Signs(500))).stage == 1


@pytest.mark.parametrize("state", [State.PROMOTED, State.ABORTED, State.SUPERSEDED, State.FAILED])
def test_others_end_it_once(state: State) -> None:
    """A person, a newer change or a load error ends it; what has ended takes no order and changes no more."""
    ended = RAMP.ended_by(state, AT + MINUTE)
    assert (ended.state, ended.share) == (state, 1.0 if state is State.PROMOTED else 0.0)
    assert _after(ended, (200, BAD)) == ended
    with pytest.raises(InvalidInput, match="has ended as"):
        ended.paused()
    with pytest.raises(InvalidInput, match="has ended as"):
        ended.ended_by(State.ABORTED, AT)


def test_impossible_orders_are_refused() -> None:
    """Only a paused rollout can be resumed, and nobody can order what only a check finds."""
    with pytest.raises(InvalidInput, match="only a paused one"):
        RAMP.resumed(AT)
    with pytest.raises(InvalidInput, match="nobody ends a rollout as unproven"):
        RAMP.ended_by(State.UNPROVEN, AT)


@pytest.mark.parametrize(
    ("shares", "minutes", "units", "limit"),
    [
        *(((), 1, 1, 9), ((0.5, 0.1), 1, 1, 9), ((0.0, 0.1), 1, 1, 9), ((0.5, 1.0), 1, 1, 9)),
        *(((0.5,), 0, 1, 9), ((0.5,), 1, 0, 9), ((0.1, 0.5), 5, 1, 10)),
    ],
)
def test_an_impossible_plan_is_refused(shares: tuple[float, ...], minutes: int, units: int, limit: int) -> None:
    """Shares rise between 0 and 1, a stage takes time and units, and the limit holds all stages."""
    with pytest.raises(InvalidInput, match="rollout: "):
        Plan(shares, minutes * MINUTE, units, limit * MINUTE)


CHECK = st.tuples(st.integers(0, 25), st.integers(0, 150), st.sampled_from(["", "", "", "half", "half", "all"]))


@given(st.lists(CHECK, max_size=25), st.integers(0, 24))
def test_whatever_is_found(checks: list[tuple[int, int, str]], restart: int) -> None:
    """The share rises by one stage at a time until it ends, what ended stays, evidence and the limit always end it,
    nothing is promoted while something speaks against it, and a check that is repeated, or a restart, changes nothing.
    """
    ramp, now, units = RAMP, AT, 0
    for number, (minutes, more, found) in enumerate(checks):
        now, units = now + minutes * MINUTE, units + more
        signs = Signs(units, evidence=found == "all", suspected=found != "")
        before, ramp = ramp, ramp.after(signs, now)
        assert ramp.after(signs, now) == ramp
        if number == restart:
            ramp = Ramp.from_dict(json.loads(json.dumps(ramp.to_dict())))
        if before.ended:
            assert ramp == before
            continue
        assert ramp.stage - before.stage in (0, 1)
        assert ramp.ended or ramp.share == PLAN.shares[ramp.stage]
        assert found != "all" or ramp.state is State.ROLLED_BACK
        assert now < AT + PLAN.limit or ramp.ended
        if found == "half":
            assert ramp.state in (State.FROZEN, State.UNPROVEN)
        if ramp.state is State.PROMOTED:
            assert now - AT >= len(PLAN.shares) * PLAN.stage_time
            assert units >= len(PLAN.shares) * PLAN.stage_units


def test_signs_are_read_from_a_judgement() -> None:
    """Evidence, half of it on the log scale, or the evidence before and after is what speaks against it."""

    def found(stage: Stage, current: Window) -> Signs:
        return Signs.of(judge(Window(1000, 950), current, Rules(), arms=Arms(1000, 50, (stage,))))

    assert found(Stage(0.1, 12, 0, 108, 5), Window(12, 12)) == Signs(120)
    assert found(Stage(0.5, 20, 7, 20, 1), Window(20, 19)) == Signs(40, suspected=True)
    assert found(Stage(0.5, 20, 19, 20, 19), Window(20, 1)) == Signs(40, suspected=True)
    assert found(Stage(0.5, 10, 8, 10, 0), Window(10, 2)) == Signs(20, evidence=True, suspected=True)
    with pytest.raises(InvalidInput, match="both its versions"):
        Signs.of(judge(Window(1000, 950), Window(12, 12), Rules()))
