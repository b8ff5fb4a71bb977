"""How the watch over a deployment begins and ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollguard.errors import SessionClosed
from tests.acceptance.helpers import TEN_AM, after, baseline, current, deploy_at_ten
from tests.conftest import Guard


def test_start_monitoring_makes_an_active_session_of_what_is_live(guard: Guard) -> None:
    """Started with a name and a time alone, a session is stored, active, and watches the version that is live."""
    guard.deploy(1, at=TEN_AM - timedelta(days=1))
    guard.deploy(2, at=TEN_AM)
    session_id = guard.monitor.start_monitoring(tool_name="my_tool", deployment_time=TEN_AM, now=TEN_AM)
    assert isinstance(session_id, int)
    (session,) = guard.monitor.get_active_sessions()
    assert (session.session_id, session.tool_name, session.deployment_time) == (session_id, "my_tool", TEN_AM)
    assert (session.status, session.version_number, session.completed_at) == ("active", 2, None)


def test_active_sessions_are_those_under_watch_oldest_first(guard: Guard) -> None:
    """Each active session is listed once, oldest first, and a closed one no longer."""
    ids = []
    for name in ("a_tool", "b_tool", "c_tool"):
        guard.deploy(1, tool=name, at=TEN_AM)
        ids.append(guard.watch(tool=name, at=TEN_AM))
    guard.monitor.cancel_monitoring(ids[1], now=after(1))
    assert [session.session_id for session in guard.monitor.get_active_sessions()] == [ids[0], ids[2]]


@pytest.mark.parametrize("executions", [0, 9])
def test_a_window_without_enough_data_completes_as_unproven(guard: Guard, executions: int) -> None:
    """A window that ends without enough executions is completed as unproven, and says so; it is not called healthy."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    if executions:
        current(guard, executions, 0, hours=6)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(24))
    session = guard.session(session_id)
    assert result["verdict"] == "insufficient_data"
    assert (session.status, session.outcome) == ("completed", "unproven")
    assert session.notes is not None
    assert session.notes.startswith("unproven: insufficient data")
    assert f"{10 - executions} more since the deployment" in session.notes


def test_a_newer_deployment_supersedes_the_session(guard: Guard) -> None:
    """When a newer version is deployed, the watch over the one before ends as superseded, and it is not rolled back."""
    first = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 0, 20, hours=1)
    guard.deploy(3, at=after(2))
    session = guard.session(first)
    assert (session.status, session.completed_at) == ("superseded", after(2))
    result = guard.monitor.auto_rollback_if_needed("my_tool", first, now=after(3))
    assert (result["rollback_performed"], result["needs_rollback"]) == (False, False)
    assert guard.registry.call("my_tool") == 3
    assert guard.store.rollbacks.recent() == []


def test_a_new_session_of_the_tool_supersedes_the_one_before(guard: Guard) -> None:
    """A tool has one active session at most: starting another ends the first as superseded."""
    first = deploy_at_ten(guard)
    second = guard.watch(at=after(1))
    assert [guard.session(number).status for number in (first, second)] == ["superseded", "active"]


def test_deploying_what_is_live_already_changes_nothing(guard: Guard) -> None:
    """The same code deployed again is the same version, and the session that watches it goes on."""
    session_id = deploy_at_ten(guard)
    assert guard.deploy(2, at=after(1)) == 2
    assert guard.session(session_id).status == "active"


def test_an_operator_can_cancel(guard: Guard) -> None:
    """A cancelled session ends with its reason, rolls nothing back any more, and cannot be cancelled twice."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 0, 20, hours=1)
    session = guard.monitor.cancel_monitoring(session_id, "a planned outage", now=after(1))
    assert (session.status, session.completed_at, session.notes) == ("cancelled", after(1), "a planned outage")
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    assert result["rollback_performed"] is False
    assert guard.registry.call("my_tool") == 2
    with pytest.raises(SessionClosed, match="cancelled"):
        guard.monitor.cancel_monitoring(session_id, now=after(3))


def test_a_regression_seen_first_at_the_end_is_rolled_back(guard: Guard) -> None:
    """The window's last check still rolls back: a session completes as healthy only without a regression."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=23)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(24))
    assert result["rollback_performed"] is True
    assert guard.session(session_id).status == "rolled_back"


def test_every_check_is_kept(guard: Guard) -> None:
    """Each check of an active session is one row of its history, with what it found."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 22, 3, hours=6)
    for hour in (3, 6):
        guard.monitor.check_health("my_tool", session_id, now=after(hour))
    latest, first = guard.store.sessions.checks(session_id)
    assert (latest["checked_at"], first["checked_at"]) == (after(6), after(3))
    assert (latest["baseline_success_rate"], latest["baseline_total_executions"]) == (0.9, 100)
    assert (latest["current_success_rate"], latest["current_total_executions"]) == (0.88, 25)
    assert (latest["success_rate_drop"], latest["regression_detected"]) == (0.02, False)
    assert (latest["regression_severity"], latest["needs_rollback"]) == ("none", False)
