"""The three views, and the contract's blocks that select from them, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollguard.errors import StoreUnavailable
from rollguard.monitor.session_checks import record_failed_check
from tests.conftest import Guard
from tests.contract.sql import ask, block, moment
from tests.contract.stories import (
    DAY,
    HOUR,
    START,
    deploy,
    five_and_ten_deployments,
    hold,
    present,
    regress,
    two_tools_under_watch,
)

# --- active_monitoring ----------------------------------------------------------------------------------------------


def test_active_monitoring_shows_the_contracts_example(guard: Guard, url: str) -> None:
    """Each tool under watch is one row with the hours since its deployment and its latest check."""
    fine, bad = two_tools_under_watch(guard, present())
    rows = {row["session_id"]: row for row in ask(url, block("active_monitoring.sql"))}
    assert set(rows) == {fine, bad}
    shown = {
        number: (row["tool_name"], bool(row["regression_detected"]), row["latest_success_rate_drop"])
        for number, row in rows.items()
    }
    assert shown == {fine: ("my_tool", False, 0.02), bad: ("other_tool", True, 0.18)}
    assert rows[fine]["hours_elapsed"] == pytest.approx(6.5, abs=0.1)
    assert rows[bad]["hours_elapsed"] == pytest.approx(12.3, abs=0.1)
    assert {row["check_count"] for row in rows.values()} == {2}
    assert {row["monitoring_window_hours"] for row in rows.values()} == {24}


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("dialect", ["postgresql"])
def test_hours_elapsed_are_the_same_in_every_time_zone(guard: Guard, url: str, zone: str) -> None:
    """The hours since a deployment do not depend on the session's time zone."""
    fine, _ = two_tools_under_watch(guard, present())
    rows = {row["session_id"]: row["hours_elapsed"] for row in ask(url, block("active_monitoring.sql"), time_zone=zone)}
    assert rows[fine] == pytest.approx(6.5, abs=0.1)


def test_active_monitoring_without_checks(guard: Guard, url: str) -> None:
    """A session that was never checked is shown, without a regression, with 0 checks and no drop."""
    deploy(guard, "my_tool", at=START, baseline=(9, 1))
    (row,) = ask(url, block("active_monitoring.sql"))
    assert bool(row["regression_detected"]) is False
    assert row["regression_detected"] is not None
    assert (row["latest_success_rate_drop"], row["latest_check_at"], row["check_count"]) == (None, None, 0)


def test_active_monitoring_shows_the_latest_check(guard: Guard, url: str) -> None:
    """Of several checks the latest is shown, and all of them are counted, in one row."""
    session_id = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    guard.calls(10, 10, start=START, hours=1)
    guard.monitor.check_health("my_tool", session_id, now=START + HOUR)
    guard.calls(80, 0, start=START + HOUR, hours=1)
    guard.monitor.check_health("my_tool", session_id, now=START + 2 * HOUR)
    (row,) = ask(url, block("active_monitoring.sql"))
    assert (bool(row["regression_detected"]), row["latest_success_rate_drop"], row["check_count"]) == (False, 0.0, 2)
    assert moment(row["latest_check_at"]) == START + 2 * HOUR


def test_a_check_that_could_not_be_made_hides_no_regression(guard: Guard, url: str) -> None:
    """A tool that regressed stays among the active regressions when a later check could not be made."""
    session_id = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    guard.calls(10, 10, start=START, hours=1)
    guard.monitor.check_health("my_tool", session_id, now=START + HOUR)
    session = guard.session(session_id)
    record_failed_check(guard.store, session, StoreUnavailable("the database was away"), START + 2 * HOUR)
    shown = ask(url, block("active_regressions.sql"))
    assert [(row["session_id"], row["latest_success_rate_drop"]) for row in shown] == [(session_id, 0.4)]


def test_active_monitoring_shows_active_sessions_only(guard: Guard, url: str) -> None:
    """Sessions that are completed, rolled back, superseded or cancelled are not shown."""
    hold(guard, "completed_tool", at=START, successes=18, of=20, version=2)
    regress(guard, "rolled_back_tool", at=START, successes=5, hours=3)
    deploy(guard, "my_tool", at=START, baseline=(9, 1))
    second = deploy(guard, "my_tool", at=START + HOUR, baseline=(9, 1), version=3)
    cancelled = deploy(guard, "cancelled_tool", at=START, baseline=(9, 1))
    guard.monitor.cancel_monitoring(cancelled, now=START + HOUR)
    assert [row["session_id"] for row in ask(url, block("active_monitoring.sql"))] == [second]


def test_active_monitoring_has_the_contracts_columns(guard: Guard, url: str) -> None:
    """The view has every column that the contract shows or asks for."""
    deploy(guard, "my_tool", at=START, baseline=(9, 1))
    (row,) = ask(url, block("active_monitoring.sql"))
    assert {
        "session_id",
        "tool_name",
        "hours_elapsed",
        "regression_detected",
        "latest_success_rate_drop",
        "monitoring_window_hours",
        "check_count",
    } <= set(row)


# --- tool_health_history --------------------------------------------------------------------------------------------


def test_tool_health_history_shows_the_contracts_example(guard: Guard, url: str) -> None:
    """A tool's checks, newest first: at 14:00 a rate of 0.85 with a drop of 5 points, at 14:30 one of 0.88 with 2."""
    session_id = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    guard.calls(17, 3, start=START, hours=1)
    at_two = START + 4 * HOUR
    guard.monitor.check_health("my_tool", session_id, now=at_two)
    guard.calls(27, 3, start=at_two, hours=0.4)
    guard.monitor.check_health("my_tool", session_id, now=at_two + 0.5 * HOUR)
    rows = [
        (
            row["tool_name"],
            moment(row["checked_at"]),
            row["baseline_success_rate"],
            row["current_success_rate"],
            row["success_rate_drop"],
            bool(row["regression_detected"]),
        )
        for row in ask(url, block("tool_health_history.sql"))
    ]
    assert rows == [
        ("my_tool", at_two + timedelta(minutes=30), 0.9, 0.88, 0.02, False),
        ("my_tool", at_two, 0.9, 0.85, 0.05, False),
    ]


def test_tool_health_history_is_the_last_10_of_that_tool(guard: Guard, url: str) -> None:
    """Of 12 checks the latest 10 are shown, in order, across sessions, and none of another tool."""
    first = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    other = deploy(guard, "other_tool", at=START, baseline=(90, 10))
    for hour in range(1, 7):
        guard.monitor.check_health("my_tool", first, now=START + hour * HOUR)
        guard.monitor.check_health("other_tool", other, now=START + hour * HOUR)
    second = deploy(guard, "my_tool", at=START + 7 * HOUR, baseline=(90, 10), version=3)
    for hour in range(8, 14):
        guard.monitor.check_health("my_tool", second, now=START + hour * HOUR)
    rows = ask(url, block("tool_health_history.sql"))
    assert [moment(row["checked_at"]) for row in rows] == [
        START + hour * HOUR for hour in (13, 12, 11, 10, 9, 8, 6, 5, 4, 3)
    ]
    assert {row["tool_name"] for row in rows} == {"my_tool"}


# --- deployment_stability -------------------------------------------------------------------------------------------


def test_deployment_stability_shows_the_contracts_example(guard: Guard, url: str) -> None:
    """3 of 5 deployments rolled back after 8.5 hours on average at 0.65, and none of 10 at 0.92, the worst first."""
    five_and_ten_deployments(guard)
    bad, good = ask(url, block("deployment_stability.sql"))
    assert (bad["tool_name"], bad["total_deployments"], bad["rollback_rate"]) == ("problematic_tool", 5, 0.6)
    assert bad["avg_hours_to_rollback"] == pytest.approx(8.5)
    assert bad["avg_post_deployment_success_rate"] == pytest.approx(0.65)
    assert (good["tool_name"], good["total_deployments"], good["rollback_rate"]) == ("stable_tool", 10, 0.0)
    assert good["avg_hours_to_rollback"] is None
    assert good["avg_post_deployment_success_rate"] == pytest.approx(0.92)


def test_deployment_stability_counts_each_deployment_once(guard: Guard, url: str) -> None:
    """Five checks and a rollback of one session are one deployment and one rollback."""
    session_id = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    guard.calls(15, 5, start=START, hours=1)
    for hour in range(1, 5):
        guard.monitor.check_health("my_tool", session_id, now=START + hour * HOUR)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=START + 5 * HOUR)
    (row,) = ask(url, block("deployment_stability.sql"))
    assert (row["total_deployments"], row["total_rollbacks"], row["rollback_rate"]) == (1, 1, 1.0)
    assert row["avg_hours_to_rollback"] == pytest.approx(5.0)
    assert row["avg_post_deployment_success_rate"] == 0.75


def test_deployment_stability_averages_each_deployments_last_rate(guard: Guard, url: str) -> None:
    """A deployment counts with the rate of its last check, not with every check of it."""
    first = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    guard.calls(9, 1, start=START, hours=1)
    for hour in (1, 2, 3):
        guard.monitor.check_health("my_tool", first, now=START + hour * HOUR)
    guard.calls(10, 0, start=START + 3 * HOUR, hours=0.5)
    guard.monitor.check_health("my_tool", first, now=START + 4 * HOUR)  # 19 of 20
    second = deploy(guard, "my_tool", at=START + 10 * DAY, baseline=(90, 10), version=3)
    guard.calls(17, 3, start=START + 10 * DAY, hours=1)
    guard.monitor.check_health("my_tool", second, now=START + 10 * DAY + HOUR)  # 17 of 20
    (row,) = ask(url, block("deployment_stability.sql"))
    assert row["total_deployments"] == 2
    assert row["avg_post_deployment_success_rate"] == pytest.approx(0.9)


def test_a_later_check_without_data_hides_nothing(guard: Guard, url: str) -> None:
    """The last check that had data counts, though a later one could not be made."""
    session_id = deploy(guard, "my_tool", at=START, baseline=(90, 10))
    guard.calls(18, 2, start=START, hours=1)
    guard.monitor.check_health("my_tool", session_id, now=START + HOUR)
    session = guard.session(session_id)
    record_failed_check(guard.store, session, StoreUnavailable("the database was away"), START + 2 * HOUR)
    (row,) = ask(url, block("deployment_stability.sql"))
    assert (row["total_deployments"], row["avg_post_deployment_success_rate"]) == (1, 0.9)
    latest = ask(url, block("tool_health_history.sql"))[0]
    assert (latest["verdict"], latest["current_success_rate"]) == ("error", None)


def test_a_deployment_without_any_call_has_no_rate(guard: Guard, url: str) -> None:
    """A deployment that nobody called counts as a deployment and does not move the average rate."""
    silent = deploy(guard, "my_tool", at=START, baseline=(9, 1))
    guard.monitor.check_health("my_tool", silent, now=START + HOUR)
    (row,) = ask(url, block("deployment_stability.sql"))
    assert (row["total_deployments"], row["avg_post_deployment_success_rate"]) == (1, None)
    hold(guard, "my_tool", at=START + 10 * DAY, successes=18, of=20, version=3)
    (row,) = ask(url, block("deployment_stability.sql"))
    assert (row["total_deployments"], row["avg_post_deployment_success_rate"]) == (2, 0.9)


def test_a_rollback_that_failed_is_no_rollback(guard: Guard, url: str) -> None:
    """A rollback that could not be made does not raise the rollback rate."""
    guard.deploy(1, at=START)
    session_id = guard.watch(at=START)
    guard.calls(90, 10, start=START - DAY, hours=20)
    guard.calls(10, 10, start=START, hours=1)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=START + 2 * HOUR)
    (row,) = ask(url, block("deployment_stability.sql"))
    assert (row["total_deployments"], row["rollback_rate"], row["avg_hours_to_rollback"]) == (1, 0.0, None)
