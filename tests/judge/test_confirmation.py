"""With `confirm = "concurrent"` the evidence rule has both versions serve first, and their comparison rolls back."""

from __future__ import annotations

import json

import pytest

from rollguard.judge import (
    Arms,
    Confirmation,
    Confounders,
    Judgement,
    Outcome,
    Rules,
    Stage,
    Stand,
    Verdict,
    Window,
    differences,
    fails_alone,
    judge,
    replay,
)
from tests.conftest import NOW

BASELINE, BAD = Window(1000, 950), Window(30, 10)
CONFIRM = Rules(decision="evidence", confirm="concurrent")
STANDS = {stand: Confirmation(stand, f"it is {stand}") for stand in Stand}


def _judged(stand: Stand, rules: Rules = CONFIRM, current: Window = BAD, arms: Arms | None = None) -> Judgement:
    return judge(BASELINE, current, rules, arms=arms, confirmation=lambda: STANDS[stand])


@pytest.mark.parametrize("stand", Stand)
def test_where_the_confirmation_stands_decides(stand: Stand) -> None:
    """Only if both versions cannot serve, or the rules say so at the bound, does the evidence before and after act."""
    found = _judged(stand)
    acts = stand in (Stand.IMPOSSIBLE, Stand.EXHAUSTED)
    assert (found.needs_rollback, found.wants_confirmation) == (acts, stand is Stand.POSSIBLE)
    expected = Verdict.REGRESSED if acts else Verdict.INSUFFICIENT_DATA
    assert found.verdict is (Verdict.EXTERNAL if stand is Stand.EXTERNAL else expected)
    assert f"it is {stand}" in found.reasons
    again = replay(json.loads(json.dumps(found.record())))
    assert (again, differences(found.record(), again)) == (found, [])


def _never() -> Confirmation:
    raise AssertionError("nobody asked for a confirmation")


@pytest.mark.parametrize(
    "rules",
    [
        Rules(confirm="concurrent"),
        Rules(decision="evidence"),
        Rules(decision="evidence", confirm="concurrent", rollback_on_slowdown=True),
    ],
)
def test_what_is_not_confirmed(rules: Rules) -> None:
    """Neither the threshold rule nor a slowdown is confirmed, and nothing is asked if nothing would act."""
    slow = Window(30, 30, 30, 9e5, ((60, 30),)) if rules.rollback_on_slowdown else BAD
    before = Window(1000, 950, 1000, 1e4, ((20, 1000),)) if rules.rollback_on_slowdown else BASELINE
    assert judge(before, slow, rules, confirmation=_never).needs_rollback
    assert not judge(BASELINE, Window(30, 29), rules, confirmation=_never).needs_rollback


def test_triggers_are_confirmed_and_outages_of_others_come_first() -> None:
    """A trigger with evidence is confirmed too. If something else explains the failures, nothing is asked."""
    failed = [Outcome(NOW, success=False)] * 3
    found = judge(BASELINE, Window(3, 0), CONFIRM, outcomes=lambda: failed, confirmation=lambda: STANDS[Stand.POSSIBLE])
    assert (found.rollback_type, found.needs_rollback, found.wants_confirmation) == ("fast", False, True)
    around = Confounders((), BASELINE, Window(30, 30))
    found = judge(BASELINE, BAD, CONFIRM, confounders=lambda: around, confirmation=lambda: STANDS[Stand.POSSIBLE])
    assert found.wants_confirmation


def test_both_versions_decide_while_they_serve() -> None:
    """In a confirmation the comparison rolls back on the whole of alpha, and an outage of both does not."""
    worse = Arms(1000, 50, (Stage(0.5, 10, 10, 10, 0),), confirms=True)
    found = judge(BASELINE, BAD, CONFIRM, arms=worse, confirmation=_never)
    assert (found.needs_rollback, found.rollback_type) == (True, "concurrent")
    assert found.arms is not None
    assert found.arms.alpha == CONFIRM.alpha
    outage = Arms(1000, 50, (Stage(0.5, 20, 18, 20, 18),), confirms=True)
    assert not judge(BASELINE, BAD, CONFIRM, arms=outage, confirmation=_never).needs_rollback
    over = Arms(1000, 50, (Stage(0.5, 20, 18, 20, 18),), serving=False, confirms=True)
    found = _judged(Stand.HELD, arms=over)
    assert any(reason.startswith("while the old version served too") for reason in found.reasons)
    assert Arms.from_dict(json.loads(json.dumps(over.to_dict()))) == over


def test_alpha_is_shared_only_if_both_may_roll_back() -> None:
    """The evidence before and after takes a part of alpha only if it rolls back at the bound."""
    assert CONFIRM.alpha_of_each() == 0.05
    assert Rules(decision="evidence", confirm="concurrent", confirm_at_bound="roll_back").alpha_of_each() == 0.025
    assert Rules(confirm="concurrent", confirm_at_bound="roll_back").alpha_of_each() == 0.05


def test_the_old_version_alone() -> None:
    """The old version fails alone if its own calls are evidence that more of them fail than before."""
    assert fails_alone(CONFIRM, (1000, 50), 10, 9)
    assert not fails_alone(CONFIRM, (1000, 50), 20, 1)
