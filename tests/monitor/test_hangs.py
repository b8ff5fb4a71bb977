"""A version that hangs is seen: what hung counts as a failure if the baseline was counted so too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.model.in_flight import CallInFlight
from tests.conftest import NOW, Guard

BEFORE = NOW - timedelta(days=2)
LATER = NOW + timedelta(hours=1)
QUICK = "async def my_tool():\n    return 1\n"
HANGS = """
import asyncio
BEGUN = []
async def my_tool():
    BEGUN.append(1)
    await asyncio.Event().wait()
"""


def ended(guard: Guard, kind: str | None, number: int, *, start: datetime, ms: float | None = 10.0) -> None:
    """Record calls a second apart that ended in some way; None is a success."""
    guard.store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": kind is None,
            "error_type": kind,
            "duration_ms": ms,
            "executed_at": start + timedelta(seconds=second),
        }
        for second in range(number)
    )


def watched(guard: Guard, **rules: Any) -> int:
    """Two versions, and a session of the second; the first had 100 good calls of 10 ms."""
    guard.deploy(1, at=BEFORE)
    guard.deploy(2, at=NOW)
    ended(guard, None, 100, start=BEFORE)
    return guard.watch(at=NOW, **rules)


async def test_a_version_that_hangs_is_rolled_back(
    store: ExecutionStore, registry: ToolRegistry, monitor: DeploymentMonitor
) -> None:
    """The first version is fine, the callers of the second give up after 30 ms: it is rolled back for that."""
    registry.deploy("my_tool", QUICK)
    await registry.acall("my_tool")
    store.store_tool_executions(
        {"tool_name": "my_tool", "success": True, "duration_ms": 0.001, "version_number": 1} for _ in range(199)
    )
    registry.deploy("my_tool", HANGS)
    session_id = monitor.start_monitoring("my_tool", datetime.now(UTC))
    begun = vars((await asyncio.to_thread(registry.get_tool, "my_tool")).module)["BEGUN"]
    while len(begun) < 10:  # on a slow machine a caller may give up before its call begins
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(registry.acall("my_tool"), 0.03)
    taken = await asyncio.to_thread(monitor.auto_rollback_if_needed, "my_tool", session_id)
    assert (taken["rollback_performed"], taken["rollback_type"]) == (True, "threshold")
    assert taken["reason"].startswith("10 of 10 calls failed (100 %) since the deployment, 0 of 200 calls failed")
    assert "10 calls hung since the deployment, 0 before" in "; ".join(taken["reasons"])
    assert (taken["hangs"]["current"], taken["hangs"]["counted"]) == (10, True)
    assert await registry.acall("my_tool") == 1


@pytest.mark.parametrize(("ms", "total"), [(10.0, 20), (11.0, 40), (None, 20)])
def test_how_long_a_caller_waited(guard: Guard, ms: float | None, total: int) -> None:
    """A call that was given up on failed if it ran longer than 99 % of the calls before; else it does not count."""
    guard.store.definitions.note({"my_tool": (None, BEFORE)})
    session_id = watched(guard)
    ended(guard, None, 20, start=NOW)
    ended(guard, "CallerGaveUp", 20, start=NOW, ms=ms)
    report = guard.monitor.check_health("my_tool", session_id, now=LATER)
    assert report["current"]["total_executions"] == total
    assert report["needs_rollback"] == (total == 40)


@pytest.mark.parametrize("since", [BEFORE, NOW - timedelta(days=8)])
def test_a_baseline_that_was_not_counted_so(guard: Guard, since: datetime) -> None:
    """Hangs decide only if they were recorded through the whole baseline; until then they are reported."""
    ended(guard, None, 1, start=since - timedelta(days=1))
    guard.store.definitions.note({"my_tool": (5.0, since)})
    session_id = watched(guard)
    ended(guard, None, 20, start=NOW)
    ended(guard, "CallTimedOut", 20, start=NOW, ms=None)
    report = guard.monitor.check_health("my_tool", session_id, now=LATER)
    counted = since < BEFORE
    assert report["hangs"] == {
        "baseline": 0,
        "current": 20,
        "limit_ms": report["hangs"]["limit_ms"],
        "counted": counted,
    }
    assert report["current"]["total_executions"] == (40 if counted else 20)
    assert report["verdict"] == ("regressed" if counted else "healthy")
    assert any("20 calls hung since the deployment" in reason for reason in report["reasons"])


def test_a_limit_that_changes_is_another_definition(guard: Guard) -> None:
    """Where a tool's limit changes, its hangs decide again after a whole baseline; the same limit changes nothing."""
    definitions = guard.store.definitions
    definitions.note({"my_tool": (5.0, BEFORE), "other": (None, BEFORE)})
    always = datetime(1970, 1, 1, tzinfo=UTC)
    assert definitions.since(["my_tool", "other", "none"]) == {"my_tool": always, "other": always}
    ended(guard, None, 1, start=BEFORE)
    definitions.note({"my_tool": (5.0, NOW)})
    assert definitions.since(["my_tool"]) == {"my_tool": always}
    definitions.note({"my_tool": (6.0, NOW)})
    assert definitions.since(["my_tool"]) == {"my_tool": NOW}


def test_before_and_after_count_alike(guard: Guard) -> None:
    """A tool whose callers always gave up as often did not get worse."""
    guard.store.definitions.note({"my_tool": (None, BEFORE)})
    session_id = watched(guard)
    ended(guard, "CallerGaveUp", 100, start=BEFORE, ms=50.0)
    ended(guard, None, 20, start=NOW)
    ended(guard, "CallerGaveUp", 20, start=NOW, ms=50.0)
    report = guard.monitor.check_health("my_tool", session_id, now=LATER)
    assert (report["baseline"]["success_rate"], report["current"]["success_rate"]) == (0.5, 0.5)
    assert report["verdict"] == "healthy"


def test_a_baseline_that_is_kept(guard: Guard) -> None:
    """The stored baseline knows what hung: each check decides the same, and so does its record."""
    guard.store.definitions.note({"my_tool": (None, BEFORE)})
    session_id = watched(guard)
    ended(guard, "CallTimedOut", 10, start=BEFORE, ms=None)
    ended(guard, None, 20, start=NOW)
    ended(guard, "CallTimedOut", 2, start=NOW, ms=None)
    reports = [guard.monitor.check_health("my_tool", session_id, now=LATER) for _ in range(2)]
    assert [report["baseline"]["total_executions"] for report in reports] == [110, 110]
    assert guard.session(session_id).baseline is not None
    assert guard.monitor.explain(session_id)["checks"] == {
        **{"kept": 2, "made_again": 2, "differing": [], "not_replayed": []}
    }


def test_three_hangs_in_a_row(guard: Guard) -> None:
    """Three calls in a row that hung are a trigger like three that failed; what does not count breaks no row."""
    guard.store.definitions.note({"my_tool": (5.0, BEFORE)})
    session_id = watched(guard)
    guard.calls(1000, 0, start=BEFORE + timedelta(hours=1))
    for second, kind in enumerate(("CallTimedOut", "ControlFlow", "CallTimedOut", "CallWithdrawn", "CallTimedOut")):
        ended(guard, kind, 1, start=NOW + timedelta(seconds=second), ms=None)
    report = guard.monitor.check_health("my_tool", session_id, now=NOW + timedelta(minutes=1))
    assert (report["trigger"], report["current"]["total_executions"]) == ("consecutive_failures", 3)
    assert report["needs_rollback"]


def test_what_is_neither_counts_nowhere(guard: Guard) -> None:
    """A pause or an approval is in no window, in no rate and in no view of versions, before and after a refresh."""
    session_id = watched(guard)
    ended(guard, None, 20, start=NOW)
    ended(guard, "ControlFlow", 20, start=NOW)
    ended(guard, "CallWithdrawn", 20, start=BEFORE)
    for _ in range(2):
        report = guard.monitor.check_health("my_tool", session_id, now=LATER)
        assert [report[window]["total_executions"] for window in ("baseline", "current")] == [100, 20]
        history = guard.store.reports.version_history("my_tool")
        assert [(row["executions"], row["success_rate"]) for row in history] == [(20, 1.0), (100, 1.0)]
        guard.store.fold()


def test_the_restored_version_is_verified_alike(guard: Guard) -> None:
    """If the restored version hangs as well, the version that was rolled back was not the cause."""
    guard.store.definitions.note({"my_tool": (5.0, BEFORE)})
    session_id = watched(guard)
    ended(guard, "CallTimedOut", 20, start=NOW, ms=None)
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)["rollback_performed"]
    ended(guard, "CallTimedOut", 20, start=LATER + timedelta(minutes=1), ms=None)
    from rollguard.rollback.verification import verify_all

    assert verify_all(guard.store, LATER + timedelta(minutes=9)) == [(1, False)]


def test_calls_that_run_are_shown(guard: Guard) -> None:
    """A report names the calls of its version that began and have not ended, of any process."""
    session_id = watched(guard)
    begun = NOW + timedelta(minutes=1)
    running = [CallInFlight("my_tool", version, begun) for version in (1, 2)]
    guard.store.in_flight.publish("a-process", [*running, CallInFlight("other", 2, begun)])
    report = guard.monitor.check_health("my_tool", session_id, now=LATER)
    (shown,) = report["in_flight"]
    assert (shown["tool_name"], shown["version_number"], shown["began_at"]) == ("my_tool", 2, begun.isoformat())
    guard.store.in_flight.publish("a-process", [])
    assert guard.monitor.check_health("my_tool", session_id, now=LATER)["in_flight"] == []
