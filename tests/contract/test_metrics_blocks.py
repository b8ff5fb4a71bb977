"""The contract's two metrics blocks, verbatim on PostgreSQL, against the monitor's report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from tests.conftest import Guard
from tests.contract.sql import ask, block, metrics, moment
from tests.contract.stories import DAY, HOUR, START, present

ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
INSTANT = timedelta(microseconds=1)
on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"])


@pytest.fixture
def filled(store: ExecutionStore, registry: ToolRegistry) -> tuple[Guard, int]:
    """Executions on both sides of a deployment and just inside and outside of every edge."""
    guard = Guard(store, registry, DeploymentMonitor(store, registry))
    guard.deploy(1, at=START - 30 * DAY)
    guard.deploy(2, at=START)
    session_id = guard.watch(at=START)
    guard.calls(41, 6, start=START - 6 * DAY, hours=120, ms=12.5)
    guard.calls(31, 8, start=START + HOUR, hours=4, ms=20.25)
    for at in (START - 7 * DAY - INSTANT, START - 7 * DAY, START - INSTANT, START):
        guard.calls(0, 1, start=at, ms=100.0)
    guard.calls(3, 4, start=START - DAY, tool="other_tool")
    store.store_tool_execution(tool_name="my_tool", success=True, executed_at=START - DAY)  # without a duration
    return guard, session_id


@on_postgresql
@pytest.mark.parametrize("zone", ZONES)
def test_baseline_block_agrees_with_the_report(filled: tuple[Guard, int], url: str, zone: str) -> None:
    """The baseline block counts what the report counts, in a session of any time zone."""
    guard, session_id = filled
    report = guard.monitor.check_health("my_tool", session_id, now=START + 6 * HOUR)["baseline"]
    total, successes, duration = metrics(url, block("baseline_metrics.sql"), START, time_zone=zone)
    assert (total, successes) == (report["total_executions"], report["successes"]) == (50, 42)
    assert duration == pytest.approx(report["avg_duration_ms"], rel=1e-12)
    assert duration == pytest.approx((47 * 12.5 + 200) / 49)


@on_postgresql
@pytest.mark.parametrize("zone", ZONES)
def test_current_block_agrees_with_the_report(filled: tuple[Guard, int], url: str, zone: str) -> None:
    """The current block counts what the report counts, in a session of any time zone."""
    guard, session_id = filled
    report = guard.monitor.check_health("my_tool", session_id, now=START + 6 * HOUR)["current"]
    total, successes, duration = metrics(url, block("current_metrics.sql"), START, time_zone=zone)
    assert (total, successes) == (report["total_executions"], report["successes"]) == (40, 31)
    assert duration == pytest.approx(report["avg_duration_ms"], rel=1e-12)
    assert duration == pytest.approx((39 * 20.25 + 100) / 40)


@on_postgresql
@pytest.mark.parametrize("zone", ZONES)
def test_current_block_ends_now_in_every_time_zone(guard: Guard, url: str, zone: str) -> None:
    """Executions up to the present moment are counted and one of the next hours is not, in a session of any zone."""
    now = present()
    guard.deploy(1, at=now - 8 * DAY)
    guard.deploy(2, at=now - HOUR)
    session_id = guard.watch(at=now - HOUR)
    guard.calls(4, 1, start=now - 7 * HOUR, hours=1)
    guard.calls(8, 2, start=now - HOUR, hours=1)
    guard.calls(0, 3, start=now + HOUR, hours=1)
    report = guard.monitor.check_health("my_tool", session_id, now=now)["current"]
    total, successes, _ = metrics(url, block("current_metrics.sql"), now - HOUR, time_zone=zone)
    assert (total, successes) == (report["total_executions"], report["successes"]) == (10, 8)


@on_postgresql
def test_blocks_of_a_tool_without_executions(guard: Guard, url: str) -> None:
    """Without executions the blocks say 0, 0 and NULL, and the report 0, 0 and None."""
    guard.deploy(1, at=START)
    session_id = guard.watch(at=START)
    report = guard.monitor.check_health("my_tool", session_id, now=START + HOUR)
    for name, part in (("baseline_metrics.sql", "baseline"), ("current_metrics.sql", "current")):
        seen = report[part]
        assert metrics(url, block(name), START) == (0, 0, None)
        assert (seen["total_executions"], seen["successes"], seen["avg_duration_ms"]) == (0, 0, None)


@on_postgresql
@pytest.mark.parametrize("zone", ZONES)
def test_stored_times_are_the_same_moments_in_every_time_zone(guard: Guard, url: str, zone: str) -> None:
    """Every time that is stored reads as the same moment in a session of any zone."""
    guard.deploy(1, at=START)
    session_id = guard.watch(at=START)
    guard.calls(1, 0, start=START + HOUR)
    guard.monitor.check_health("my_tool", session_id, now=START + 2 * HOUR)
    (row,) = ask(
        url,
        "SELECT m.deployment_time, m.monitoring_started_at, c.checked_at, e.executed_at "
        "FROM deployment_monitoring m JOIN deployment_health_checks c USING (session_id), tool_executions e",
        time_zone=zone,
    )
    assert [moment(value) for value in row.values()] == [START, START, START + 2 * HOUR, START + HOUR]


@on_postgresql
def test_baseline_block_in_a_week_of_a_clock_change(guard: Guard, url: str) -> None:
    """7 days are 168 hours in UTC, as in the report; in a zone whose clocks go forward that week they are 167."""
    deployed = datetime(2026, 3, 9, 10, 0, tzinfo=UTC)  # New York's clocks went forward on 8 March
    guard.deploy(1, at=deployed)
    session_id = guard.watch(at=deployed)
    guard.calls(1, 0, start=deployed - 7 * DAY + HOUR / 2)
    report = guard.monitor.check_health("my_tool", session_id, now=deployed + HOUR)["baseline"]
    text = block("baseline_metrics.sql")
    assert metrics(url, text, deployed)[0] == report["total_executions"] == 1
    assert metrics(url, text, deployed, time_zone="America/New_York")[0] == 0
