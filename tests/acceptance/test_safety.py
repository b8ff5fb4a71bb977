"""The contract's five safety features."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.model.event import EventKind
from tests.acceptance.helpers import TEN_AM, Channel, after, baseline, current, deploy_at_ten
from tests.conftest import Guard


@pytest.mark.parametrize(
    ("before", "since", "sides"),
    [
        (10, 10, (True, True)),
        (9, 10, (False, True)),
        (10, 9, (True, False)),
        (9, 9, (False, False)),
        (0, 10, (False, True)),
        (10, 0, (True, False)),
        (0, 0, (False, False)),
    ],
)
def test_both_sides_need_10_executions(guard: Guard, before: int, since: int, sides: tuple[bool, bool]) -> None:
    """Safety 1 and 2: from success to failure counts only when baseline and current both hold 10 executions."""
    session_id = deploy_at_ten(guard)
    for count, ok, start in ((before, True, TEN_AM - timedelta(days=1)), (since, False, TEN_AM)):
        if count:
            guard.calls(count if ok else 0, 0 if ok else count, start=start)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    assert (result["baseline"]["sufficient_data"], result["current"]["sufficient_data"]) == sides
    assert result["comparison"]["has_sufficient_data"] is all(sides)
    assert result["verdict"] == ("regressed" if all(sides) else "insufficient_data")
    assert result["rollback_performed"] is all(sides)
    assert (result["comparison"]["warning"] is None) is all(sides)


def test_only_medium_and_above_rolls_back(guard: Guard) -> None:
    """Safety 3: a drop of 14 points, however well proven, has no severity and is not rolled back."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 900, 100)
    current(guard, 760, 240, hours=6)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert result["success_rate_drop"] == 0.14
    assert result["evidence"]["present"] is True
    assert result["comparison"]["regression_severity"] == "none"
    assert result["rollback_performed"] is False
    assert guard.session(session_id).status == "active"


def test_windows_are_separate(guard: Guard) -> None:
    """Safety 4: what lies before 7 days, or after 24 hours, counts in neither window."""
    session_id = deploy_at_ten(guard)
    guard.calls(0, 50, start=TEN_AM - timedelta(days=8), hours=23)
    baseline(guard, 90, 10)
    current(guard, 18, 2, hours=24)
    guard.calls(0, 50, start=after(24) + timedelta(seconds=1), hours=1)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(30))
    assert (result["baseline"]["total_executions"], result["baseline"]["successes"]) == (100, 90)
    assert (result["current"]["total_executions"], result["current"]["successes"]) == (20, 18)
    assert result["current"]["end"] == after(24).isoformat()
    assert guard.session(session_id).outcome == "healthy"


@pytest.mark.parametrize(
    ("ms", "change", "flagged"),
    [(100.0, 0.0, False), (299.0, 1.99, False), (300.0, 2.0, True), (450.0, 3.5, True)],
    ids=["as fast", "just below 200 % slower", "exactly 200 % slower", "350 % slower"],
)
def test_200_percent_slower_is_flagged_and_does_not_roll_back(
    guard: Guard, ms: float, change: float, flagged: bool
) -> None:
    """Safety 5: 200 % slower and more is flagged, with a warning; slowness alone never rolls back."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10, ms=100.0)
    current(guard, 18, 2, hours=6, ms=ms)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    comparison = result["comparison"]
    assert comparison["duration_change"] == change
    assert comparison["performance_degradation"] is flagged
    assert (comparison["warning"] is not None) is flagged
    assert (result["verdict"], result["needs_rollback"], result["rollback_performed"]) == ("healthy", False, False)
    assert guard.session(session_id).status == "active"
    assert guard.registry.call("my_tool") == 2


def test_a_slowdown_needs_sufficient_data(guard: Guard) -> None:
    """Safety 2 and 5: 9 slow executions are not flagged, the tenth is enough."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10, ms=100.0)
    current(guard, 9, 0, hours=1, ms=500.0)
    nine = guard.monitor.check_health("my_tool", session_id, now=after(1))
    assert nine["comparison"]["performance_degradation"] is False
    guard.calls(1, 0, start=after(1), ms=500.0)
    ten = guard.monitor.check_health("my_tool", session_id, now=after(2))
    assert ten["comparison"]["performance_degradation"] is True


def test_a_slowdown_is_told_once_while_it_lasts(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A slowdown is alerted when it begins and not again at every check."""
    channel = Channel()
    guard = Guard(store, registry, DeploymentMonitor(store, registry, notifiers=[channel]))
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10, ms=100.0)
    current(guard, 18, 2, hours=1, ms=300.0)
    for hour in (1, 2, 3):
        guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(hour))
    assert [event.kind for event in channel.events] == [EventKind.SLOWDOWN]


def test_a_drop_that_is_also_slower_rolls_back(guard: Guard) -> None:
    """Slowness does not stand in the way of a rollback that the success rate asks for."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10, ms=100.0)
    current(guard, 18, 7, hours=6, ms=300.0)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert result["comparison"]["performance_degradation"] is True
    assert result["rollback_performed"] is True
