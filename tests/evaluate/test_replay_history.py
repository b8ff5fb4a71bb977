"""Replaying a deployment by the minute equals judging it at each check, and risks are exact."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollguard.evaluate.exact import false_rollback
from rollguard.evaluate.false_alarm_risk import false_alarm
from rollguard.evaluate.replay_history import MINUTE, History, checks, replay_history
from rollguard.judge import PATTERN, Outcome, Rules, Window, judge
from tests.conftest import NOW

EVERY = timedelta(minutes=5)


@st.composite
def windows(draw: st.DrawFn, most: int) -> Window:
    """Counts, with or without durations."""
    total = draw(st.integers(0, most))
    return Window(total, draw(st.integers(0, total)))


RULES = st.builds(
    Rules,
    monitoring_window_hours=st.just(1),
    regression_threshold=st.sampled_from([0.05, 0.15, 0.4, 1.0]),
    min_executions=st.integers(1, 12),
    alpha=st.sampled_from([0.01, 0.05, 0.4]),
    delta=st.sampled_from([0.0, 0.1]),
    decision=st.sampled_from(["threshold", "evidence"]),
    fast_triggers=st.sampled_from(["with_evidence", "alone", "off"]),
    extend_until_sufficient=st.integers(0, 1),
    rollback_on_slowdown=st.booleans(),
)
MINUTES = st.dictionaries(st.integers(0, 130), windows(12), max_size=25)


def _history(minutes: dict[int, Window], baseline: Window, offset: int, seen: int, *, checked: bool) -> History:
    deployed = NOW + timedelta(seconds=offset)
    series = [(NOW + number * MINUTE, window) for number, window in sorted(minutes.items())]
    end = deployed + timedelta(minutes=seen)
    return History(deployed, end, checked, [m for m in series if m[0] <= end], [(deployed, baseline)])


def _outcomes(history: History, at: datetime, end: datetime) -> list[Outcome]:
    """Return possible calls of the minutes that had ended: the failures of a minute come last."""
    return [
        Outcome(start + timedelta(seconds=n), n < window.successes)
        for start, window in history.minutes
        if (start + MINUTE <= at or at == end) and start + MINUTE > at - PATTERN
        for n in range(window.total)
    ]


@given(MINUTES, windows(60), RULES, st.integers(0, 59), st.integers(1, 125), st.booleans())
@example({5: Window(3, 0)}, Window(), Rules(monitoring_window_hours=1, fast_triggers="alone"), 1, 6, False)
def test_replaying_is_judging_at_each_check(
    minutes: dict[int, Window], baseline: Window, rules: Rules, offset: int, seen: int, checked: bool
) -> None:
    """The first rollback is that of `judge` at each check in turn, with the same numbers."""
    history = _history(minutes, baseline, offset, seen, checked=checked)
    end, whole = history.end(rules), history.deployed + timedelta(hours=1)
    replayed = replay_history(history, rules, EVERY, outcomes=lambda at: _outcomes(history, at, end))
    for at, scheduled in checks(history, rules, EVERY):
        counted = [w for start, w in history.minutes if start + MINUTE <= at or at == end]
        current = sum(counted, Window())
        judgement = judge(
            baseline, current, rules, scheduled=scheduled, outcomes=lambda at=at: _outcomes(history, at, end)
        )
        if judgement.needs_rollback:
            decision = replayed.judgement
            assert (replayed.at, replayed.current, decision.needs_rollback) == (at, current, True)
            assert (decision.rollback_type, decision.evidence) == (judgement.rollback_type, judgement.evidence)
            return
        if at == whole and judgement.verdict != "insufficient_data":
            break
    assert replayed.at is None
    assert replayed.decision is None


@given(MINUTES, RULES, st.integers(0, 59), st.integers(1, 125))
def test_every_check_of_the_schedule_is_made(minutes: dict[int, Window], rules: Rules, offset: int, seen: int) -> None:
    """Each step of the schedule is a check, and the last is at the end of the known executions or of the session."""
    history = _history(minutes, Window(), offset, seen, checked=True)
    made = dict(checks(history, rules, EVERY))
    end = history.end(rules)
    steps = {history.deployed + n * EVERY for n in range(1, 26)}
    assert {at for at, scheduled in made.items() if scheduled} >= {at for at in steps if at <= end}
    assert max(made) == end
    assert made[end]


@pytest.mark.parametrize("decision", ["threshold", "evidence"])
def test_a_small_risk_is_exact(decision: str) -> None:
    """If everything is computed, the risk is that of the dynamic programming at these checks."""
    rules = Rules(decision=decision, fast_triggers="off")
    risk = false_alarm(rules, 50, 0.1, 200, 100)
    looks = None if decision == "evidence" else lambda n: n % 2 == 0
    assert risk.exact
    assert risk.probability == pytest.approx(false_rollback(rules, 50, 0.1, 200, looks=looks), abs=2e-6)


def test_a_large_risk_is_close() -> None:
    """If only some baselines are computed, the result is close to the exact risk, and marked as not exact."""
    rules = Rules(fast_triggers="off")
    exact = false_alarm(rules, 400, 0.2, 300, 300)
    rough = false_alarm(rules, 400, 0.2, 300, 300, work=400_000)
    assert exact.exact
    assert not rough.exact
    assert rough.calls == 300
    assert rough.probability == pytest.approx(exact.probability, rel=0.1)


def test_triggers_alone_risk_the_most() -> None:
    """Three failures in a row alone roll back many unchanged versions; with evidence hardly any more than without."""
    alone, with_evidence, off = (
        false_alarm(Rules(decision="evidence", fast_triggers=how), 100, 0.1, 300, 288).probability
        for how in ("alone", "with_evidence", "off")
    )
    assert off <= with_evidence < 0.05 < 0.2 < alone
    assert false_alarm(Rules(), 0, 0.1, 300, 288).probability == 0.0
