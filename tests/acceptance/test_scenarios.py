"""The contract's example scenarios, with its own numbers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.model.event import EventKind, Level
from tests.acceptance.helpers import TEN_AM, Channel, after, baseline, current, deploy_at_ten, execute
from tests.conftest import Guard


def test_scenario_1_a_drop_of_2_points_goes_on_and_completes_after_24_hours(guard: Guard) -> None:
    """Scenario 1: 90 % of 100 over 7 days, then 88 %: monitoring continues, and after 24 hours it is completed."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 22, 3, hours=6)

    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert result["baseline"]["success_rate"] == 0.9
    assert result["baseline"]["total_executions"] == 100
    assert result["current"]["success_rate"] == 0.88
    assert result["success_rate_drop"] == 0.02
    assert result["verdict"] == "healthy"
    assert result["rollback_performed"] is False
    assert guard.session(session_id).status == "active"

    last = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(24))
    session = guard.session(session_id)
    assert last["rollback_performed"] is False
    assert (session.status, session.outcome, session.completed_at) == ("completed", "healthy", after(24))
    assert guard.registry.call("my_tool") == 2


@pytest.mark.parametrize("successes", [17, 18], ids=["85 %", "90 %"])
def test_scenario_1_with_20_executions_in_6_hours_goes_on(guard: Guard, successes: int) -> None:
    """Scenario 1 with its 20 executions: the counts on either side of 88 % stay below the threshold."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, successes, 20 - successes, hours=6)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert result["current"]["total_executions"] == 20
    assert result["verdict"] == "healthy"
    assert result["comparison"]["regression_severity"] == "none"
    assert guard.session(session_id).status == "active"


def test_scenario_1_is_still_active_just_before_24_hours(guard: Guard) -> None:
    """A session is completed at the end of its window and not a second sooner."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 22, 3, hours=6)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(24) - timedelta(seconds=1))
    assert guard.session(session_id).status == "active"


def test_scenario_2_a_drop_of_18_points_is_medium_and_rolls_back(guard: Guard) -> None:
    """Scenario 2: 90 % to 72 % after 6 hours is medium: the version before is restored, the session rolled_back."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=6)
    assert guard.registry.call("my_tool") == 2

    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert result["baseline"]["success_rate"] == 0.9
    assert result["current"]["success_rate"] == 0.72
    assert result["success_rate_drop"] == 0.18
    assert result["comparison"]["regression_severity"] == "medium"
    assert result["needs_rollback"] is True
    assert result["rollback_performed"] is True
    assert guard.registry.call("my_tool") == 1
    session = guard.session(session_id)
    assert (session.status, session.completed_at) == ("rolled_back", after(6))


def test_scenario_3_a_drop_of_35_points_is_critical_alerts_and_is_investigated(
    store: ExecutionStore, registry: ToolRegistry
) -> None:
    """Scenario 3: from 85 % to 50 % after 2 hours is critical: rolled back at once, alerted, investigation logged."""
    channel = Channel()
    guard = Guard(store, registry, DeploymentMonitor(store, registry, notifiers=[channel]))
    session_id = deploy_at_ten(guard)
    baseline(guard, 85, 15)
    execute(store, 10, success=True, at=after(1))
    execute(store, 10, success=False, at=after(1.5), error="KeyError: 'price'")

    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    assert (result["baseline"]["success_rate"], result["current"]["success_rate"]) == (0.85, 0.5)
    assert result["success_rate_drop"] == 0.35
    assert result["comparison"]["regression_severity"] == "critical"
    assert result["rollback_performed"] is True
    assert registry.call("my_tool") == 1

    (alert,) = channel.events
    assert (alert.kind, alert.level) == (EventKind.ROLLED_BACK, Level.CRITICAL)
    assert (alert.tool_name, alert.session_id) == ("my_tool", session_id)
    assert alert.details["regression_severity"] == "critical"

    rollback = store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert rollback.investigation is not None
    assert (rollback.investigation["failures_before"], rollback.investigation["failures_since"]) == (15, 10)
    worst = rollback.investigation["signatures"][0]
    assert (worst["error_type"], worst["count"], worst["count_before"], worst["new"]) == ("KeyError", 10, 0, True)
    assert worst["samples"][0]["error"] == "KeyError: 'price'"
    shown = alert.details["investigation"]["signatures"][0]
    assert (shown["signature"], shown["count"], shown["samples"][0]["error"]) == (
        worst["signature"],
        10,
        worst["samples"][0]["error"],
    )
    assert "parameters" not in shown["samples"][0]  # an alert shows none unless it is asked to


def test_scenario_4_five_executions_are_insufficient_and_more_are_waited_for(guard: Guard) -> None:
    """Scenario 4: 60 % of 5 against 90 % of 20 rolls nothing back; at 10 executions the same rate does."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 18, 2)
    current(guard, 3, 2, hours=2)

    early = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    assert (early["baseline"]["success_rate"], early["baseline"]["total_executions"]) == (0.9, 20)
    assert (early["current"]["success_rate"], early["current"]["total_executions"]) == (0.6, 5)
    assert early["verdict"] == "insufficient_data"
    assert early["comparison"]["has_sufficient_data"] is False
    assert early["comparison"]["regression_detected"] is False
    assert "5 more since the deployment" in early["comparison"]["warning"]
    assert early["rollback_performed"] is False
    assert guard.session(session_id).status == "active"
    assert guard.registry.call("my_tool") == 2

    guard.calls(3, 2, start=after(2), hours=1)
    later = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(3))
    assert (later["current"]["success_rate"], later["current"]["total_executions"]) == (0.6, 10)
    assert later["verdict"] == "regressed"
    assert later["rollback_performed"] is True
    assert guard.session(session_id).status == "rolled_back"


def test_scenario_4_more_executions_that_succeed_are_healthy(guard: Guard) -> None:
    """Scenario 4 where the executions that were waited for succeed: the early 60 % was chance, and nothing happens."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 18, 2)
    current(guard, 3, 2, hours=2)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    guard.calls(15, 0, start=after(2), hours=1)
    later = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(3))
    assert later["current"]["success_rate"] == 0.9
    assert (later["verdict"], later["success_rate_drop"]) == ("healthy", 0.0)
    assert guard.session(session_id).status == "active"
    assert guard.session(session_id).deployment_time == TEN_AM
