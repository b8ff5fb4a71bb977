"""Which executions count for the baseline, which for the deployment, and which for neither."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.helpers import TEN_AM, after, deploy_at_ten, execute
from tests.conftest import Guard

INSTANT = timedelta(microseconds=1)


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's local time is New York's."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _counts(report: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    before, since = report["baseline"], report["current"]
    return (
        (before["total_executions"], before["successes"]),
        (since["total_executions"], since["successes"]),
    )


def test_an_execution_at_the_deployments_very_moment_is_current(guard: Guard) -> None:
    """At exactly deployment_time an execution is current; the last microsecond before it is baseline."""
    session_id = deploy_at_ten(guard)
    execute(guard.store, 1, success=True, at=TEN_AM - INSTANT)
    execute(guard.store, 2, success=False, at=TEN_AM)
    report = guard.monitor.check_health("my_tool", session_id, now=after(1))
    assert _counts(report) == ((1, 1), (2, 0))


def test_an_execution_at_the_checks_very_moment_is_current(guard: Guard) -> None:
    """The current window reaches up to and including the moment of the check, and no further."""
    session_id = deploy_at_ten(guard)
    execute(guard.store, 1, success=True, at=after(1))
    execute(guard.store, 1, success=False, at=after(1) + INSTANT)
    assert _counts(guard.monitor.check_health("my_tool", session_id, now=after(1)))[1] == (1, 1)
    assert _counts(guard.monitor.check_health("my_tool", session_id, now=after(2)))[1] == (2, 1)


def test_current_metrics_grow_with_every_check(guard: Guard) -> None:
    """The monitor tracks what happened since the deployment: each check sees what came in since the one before."""
    session_id = deploy_at_ten(guard)
    seen = []
    for hour in (1, 2, 3):
        guard.calls(4, 1, start=after(hour - 1))
        seen.append(_counts(guard.monitor.check_health("my_tool", session_id, now=after(hour)))[1])
    assert seen == [(5, 4), (10, 8), (15, 12)]


def test_other_tools_do_not_count(guard: Guard) -> None:
    """Only executions of the tool itself are compared."""
    session_id = deploy_at_ten(guard)
    guard.calls(5, 5, start=TEN_AM - timedelta(days=1), tool="other_tool")
    guard.calls(5, 5, start=TEN_AM, tool="other_tool")
    assert _counts(guard.monitor.check_health("my_tool", session_id, now=after(2))) == ((0, 0), (0, 0))


@pytest.mark.usefixtures("in_new_york")
def test_a_naive_datetime_is_local_time(guard: Guard) -> None:
    """05:00 on a clock in New York without a zone is 10:00 in UTC, for deployments, executions and checks alike."""
    naive = datetime(2026, 3, 2, 5, 0)  # noqa: DTZ001 - that is what this is about
    guard.deploy(1, at=TEN_AM)
    session_id = guard.monitor.start_monitoring("my_tool", naive, now=TEN_AM)
    guard.store.store_tool_execution(tool_name="my_tool", success=True, executed_at=naive)
    guard.store.store_tool_execution(tool_name="my_tool", success=False, executed_at=naive - INSTANT)
    assert guard.session(session_id).deployment_time == TEN_AM
    report = guard.monitor.check_health("my_tool", session_id, now=naive + timedelta(hours=2))
    assert report["checked_at"] == after(2).isoformat()
    assert _counts(report) == ((1, 0), (1, 1))


@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_an_execution_counts_for_the_version_it_names(guard: Guard, minutes: int) -> None:
    """A call that names the watched version is current, and one that names another is not, whatever the clock says."""
    session_id = deploy_at_ten(guard)
    moment = TEN_AM + timedelta(minutes=minutes)
    execute(guard.store, 3, success=False, at=moment, version=2)
    execute(guard.store, 5, success=True, at=moment, version=1)
    before, since = _counts(guard.monitor.check_health("my_tool", session_id, now=after(1)))
    assert since == (3, 0)
    assert before == ((5, 5) if minutes < 0 else (0, 0))


@pytest.mark.parametrize(("minutes", "expected"), [(-10, ((3, 0), (0, 0))), (10, ((0, 0), (3, 0)))])
def test_an_execution_that_names_no_version_counts_by_time(
    guard: Guard, minutes: int, expected: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """A call that names no version is baseline before the deployment and current after it."""
    session_id = deploy_at_ten(guard)
    execute(guard.store, 3, success=False, at=TEN_AM + timedelta(minutes=minutes))
    assert _counts(guard.monitor.check_health("my_tool", session_id, now=after(1))) == expected


def test_calls_of_the_old_version_in_flight_do_not_blame_the_new_one(guard: Guard) -> None:
    """Failures of the version before, finished after the deployment, never roll the new one back."""
    session_id = deploy_at_ten(guard)
    guard.calls(90, 10, start=TEN_AM - timedelta(days=1), hours=20)
    execute(guard.store, 20, success=False, at=after(0.1), version=1)
    execute(guard.store, 10, success=True, at=after(0.5), version=2)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(1))
    assert (result["verdict"], result["rollback_performed"]) == ("healthy", False)


def test_a_version_that_was_live_before_is_its_own_baseline_then(guard: Guard) -> None:
    """Where a version goes live again, its calls of the earlier time are baseline and those since are current."""
    guard.deploy(1, at=TEN_AM - timedelta(days=5))
    guard.deploy(2, at=TEN_AM - timedelta(days=1))
    guard.deploy(1, at=TEN_AM)
    session_id = guard.watch(at=TEN_AM)
    execute(guard.store, 7, success=True, at=TEN_AM - timedelta(days=3), version=1)
    execute(guard.store, 4, success=True, at=TEN_AM - timedelta(hours=2), version=2)
    execute(guard.store, 2, success=False, at=after(0.5), version=1)
    report = guard.monitor.check_health("my_tool", session_id, now=after(1))
    assert report["version_number"] == 1
    assert _counts(report) == ((11, 11), (2, 0))


def test_without_versions_everything_counts_by_time(guard: Guard) -> None:
    """A tool whose code is kept elsewhere can be watched too: its executions count by time alone."""
    session_id = guard.watch(tool="elsewhere", at=TEN_AM)
    execute(guard.store, 10, success=True, at=TEN_AM - timedelta(hours=1), tool="elsewhere")
    execute(guard.store, 10, success=True, at=after(0.5), tool="elsewhere")
    report = guard.monitor.check_health("elsewhere", session_id, now=after(1))
    assert report["version_number"] is None
    assert (_counts(report), report["verdict"]) == (((10, 10), (10, 10)), "healthy")
