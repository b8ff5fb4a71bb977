"""What else explains a tool's failures, for how long it does, and what does not: outages, twins and common errors."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from rollguard import ExecutionStore
from tests.conftest import NOW, Guard
from tests.watching import check_all

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NO_ANSWER = "TimeoutError: no answer"


def record(
    store: ExecutionStore,
    successes: int,
    failures: int,
    *,
    start: datetime,
    over: timedelta,
    tool: str = "my_tool",
    error: str = "ValueError: no",
    **more: Any,
) -> None:
    """Executions spread evenly, the failures among them too."""
    total = successes + failures
    failed = {i * total // failures for i in range(failures)} if failures else set()
    store.store_tool_executions(
        {
            "tool_name": tool,
            "success": i not in failed,
            "duration_ms": 10.0,
            "error": error if i in failed else None,
            "executed_at": start + over * i / total,
            **more,
        }
        for i in range(total)
    )


def watched(guard: Guard, **rules: object) -> int:
    """Version 2 is live from NOW on, judged by evidence; before it 95 of 100 calls a day succeeded, for a week."""
    guard.deploy(1, at=NOW - 8 * DAY)
    guard.deploy(2, at=NOW)
    record(guard.store, 665, 35, start=NOW - 7 * DAY, over=7 * DAY)
    return guard.watch(at=NOW, **{"decision": "evidence", **rules})


def others(guard: Guard, *tools: str, until: datetime = NOW) -> None:
    """Other tools that worked well until then, 100 calls a day."""
    for tool in tools:
        days = (until - NOW) / DAY + 7
        record(guard.store, round(99 * days), round(days), start=NOW - 7 * DAY, over=until - NOW + 7 * DAY, tool=tool)


def check(guard: Guard, session_id: int, at: datetime) -> dict[str, Any]:
    return guard.monitor.check_health("my_tool", session_id, now=at)


def test_a_tool_that_is_broken_for_long_explains_nothing(guard: Guard) -> None:
    """A tool that failed as much while this one was healthy is no confounder: it would excuse every bad version."""
    session_id = watched(guard)
    others(guard, "broken", until=NOW - DAY)
    record(guard.store, 5, 195, start=NOW - DAY, over=DAY, tool="broken", error="KeyError: 'expired'")
    record(guard.store, 1, 29, start=NOW, over=HOUR, tool="broken", error="KeyError: 'expired'")
    record(guard.store, 5, 25, start=NOW, over=HOUR)
    report = check(guard, session_id, NOW + HOUR)
    assert (report["verdict"], report["needs_rollback"], report["explanations"]) == ("regressed", True, [])


def test_an_outage_from_before_the_deployment_holds_until_it_ends(guard: Guard) -> None:
    """What began just before the deployment and hits every tool explains its minutes, and not what comes after."""
    session_id = watched(guard)
    others(guard, "search")
    for tool in ("my_tool", "search"):
        record(guard.store, 3, 27, start=NOW - HOUR / 2, over=HOUR / 2, tool=tool, error=NO_ANSWER)
        record(guard.store, 3, 27, start=NOW, over=HOUR / 2, tool=tool, error=NO_ANSWER)
    assert check(guard, session_id, NOW + HOUR / 2)["verdict"] == "external"
    record(guard.store, 60, 0, start=NOW + HOUR / 2, over=HOUR, tool="search")
    record(guard.store, 10, 20, start=NOW + HOUR / 2, over=HOUR)
    report = check(guard, session_id, NOW + 1.5 * HOUR)
    assert (report["verdict"], report["needs_rollback"]) == ("regressed", True)


def test_an_outage_that_is_on_holds_from_the_first_calls_on(guard: Guard) -> None:
    """Who failed already before the deployment need not fail often since, to tell of an outage that is still on."""
    session_id = watched(guard)
    others(guard, "search")
    for tool in ("my_tool", "search"):
        record(guard.store, 3, 27, start=NOW - HOUR / 2, over=HOUR / 2, tool=tool, error=NO_ANSWER)
    record(guard.store, 0, 8, start=NOW, over=2 * MINUTE, error=NO_ANSWER)
    report = check(guard, session_id, NOW + 2 * MINUTE)
    assert (report["verdict"], report["trigger"]) == ("external", "complete_failure")


def test_an_outage_hours_after_a_common_deployment_is_one(guard: Guard) -> None:
    """Tools that were all deployed at the same time, and healthy since, are confounders of each other."""
    session_id = watched(guard)
    others(guard, "search")
    for version in (1, 2):
        guard.deploy(version, tool="search", at=NOW - (2 - version) * DAY)
    guard.watch(tool="search", at=NOW, decision="evidence")
    for tool in ("my_tool", "search"):
        record(guard.store, 98, 2, start=NOW, over=5 * HOUR, tool=tool)
        record(guard.store, 2, 48, start=NOW + 5 * HOUR, over=HOUR / 2, tool=tool, error=NO_ANSWER)
    assert check(guard, session_id, NOW + 5.5 * HOUR)["verdict"] == "external"


def test_an_outage_that_was_over_before_the_deployment_explains_nothing(guard: Guard) -> None:
    """Trouble in the hour before that had passed when the version went live is not the trouble of that version."""
    session_id = watched(guard)
    record(guard.store, 3, 27, start=NOW - HOUR, over=HOUR / 2, error=NO_ANSWER)
    record(guard.store, 28, 2, start=NOW - HOUR / 2, over=HOUR / 2)
    record(guard.store, 18, 12, start=NOW, over=HOUR)
    report = check(guard, session_id, NOW + HOUR)
    assert (report["verdict"], report["needs_rollback"]) == ("regressed", True)


@pytest.mark.parametrize("error", ["TypeError: f() takes 1 argument", NO_ANSWER])
def test_a_twin_that_was_rolled_back_first_is_no_excuse(guard: Guard, error: str) -> None:
    """Of two bad deployments at once the second is rolled back too, after the first one's watch has ended."""
    session_id = watched(guard)
    others(guard, "search", "plan")
    for version in (1, 2):
        guard.deploy(version, tool="search", at=NOW - (2 - version) * DAY)
    guard.watch(tool="search", at=NOW, decision="evidence")
    record(guard.store, 0, 8, start=NOW, over=4 * MINUTE, tool="search", error=error)
    (twin, _ours) = sorted(
        (r for r in check_all(guard.monitor, now=NOW + 4 * MINUTE) if isinstance(r, dict)),
        key=lambda result: result["tool_name"] != "search",
    )
    assert twin["rollback_performed"]
    record(guard.store, 200, 0, start=NOW + 4 * MINUTE, over=HOUR, tool="search")
    record(guard.store, 4, 16, start=NOW, over=4 * MINUTE, error=error)
    report = check(guard, session_id, NOW + 4 * MINUTE)
    assert (report["verdict"], report["explanations"]) == ("regressed", [])


def test_a_shared_error_explains_the_time_in_which_others_show_it(guard: Guard) -> None:
    """After others have stopped showing the error, ours with that error are our own."""
    session_id = watched(guard)
    names = ("search", "fetch", "store", "send", "draw", "plan")
    others(guard, *names)
    for tool in names:
        record(guard.store, 10, 2, start=NOW, over=HOUR, tool=tool, error="ConnectionError: db 7 refused")
    record(guard.store, 20, 20, start=NOW, over=HOUR, error="ConnectionError: db 3 refused")
    assert check(guard, session_id, NOW + HOUR)["verdict"] == "external"
    for tool in names:
        record(guard.store, 40, 0, start=NOW + HOUR, over=3 * HOUR, tool=tool)
    record(guard.store, 60, 60, start=NOW + HOUR, over=3 * HOUR, error="ConnectionError: db 3 refused")
    report = check(guard, session_id, NOW + 4 * HOUR)
    assert (report["verdict"], report["needs_rollback"]) == ("regressed", True)


def test_requests_that_were_tried_again_are_explained_once(guard: Guard) -> None:
    """In an outage every call of a request fails; they count once, and so they are taken off once."""
    session_id = watched(guard)
    names = ("search", "fetch", "store", "send", "draw", "plan")
    others(guard, *names)
    error = "ConnectionError: db refused"
    for number, tool in enumerate(names):
        start = NOW + 5 * number * MINUTE
        record(guard.store, 10, 2, start=start, over=HOUR, tool=tool, error=error)
    record(guard.store, 20, 0, start=NOW, over=HOUR)
    for request in range(20):
        start = NOW + 3 * request * MINUTE
        record(guard.store, 0, 3, start=start, over=MINUTE, error=error, request_id=f"r{request}")
    report = check(guard, session_id, NOW + HOUR)
    assert (report["current"]["total_executions"], report["verdict"]) == (40, "external")
    assert report["explanations"][0].startswith(f"other tools show the same error ({error})")


def test_calls_that_name_no_version_are_no_other_version(guard: Guard) -> None:
    """Calls without a version count as ours, so their failures are no testimony of another version."""
    session_id = watched(guard)
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": ok, "version_number": 1, "executed_at": NOW + 20 * MINUTE}
        for ok in (True, False)
    )
    record(guard.store, 5, 35, start=NOW, over=HOUR)
    report = check(guard, session_id, NOW + HOUR)
    assert (report["verdict"], report["explanations"]) == ("regressed", [])


def test_an_outage_does_not_hide_a_slowdown(guard: Guard) -> None:
    """Minutes of an outage are taken out of the durations too, and what is slow in the rest is acted upon."""
    session_id = watched(guard, rollback_on_slowdown=True)
    others(guard, "search")
    for tool in ("my_tool", "search"):
        record(guard.store, 2, 8, start=NOW + HOUR, over=10 * MINUTE, tool=tool, error=NO_ANSWER)
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": True, "duration_ms": 100.0, "executed_at": NOW + 2 * HOUR + i * MINUTE}
        for i in range(100)
    )
    report = check(guard, session_id, NOW + 4 * HOUR)
    assert (report["verdict"], report["needs_rollback"]) == ("regressed", True)


def test_a_common_error_at_its_common_rate_explains_nothing(guard: Guard) -> None:
    """Others that show TimeoutError as often as ever do not explain that a new version shows little else."""
    session_id = watched(guard)
    for tool in ("search", "fetch"):
        record(guard.store, 1330, 70, start=NOW - 7 * DAY, over=7 * DAY, tool=tool, error=NO_ANSWER)
        record(guard.store, 190, 10, start=NOW, over=HOUR, tool=tool, error=NO_ANSWER)
    record(guard.store, 10, 20, start=NOW, over=HOUR, error=NO_ANSWER)
    report = check(guard, session_id, NOW + HOUR)
    assert (report["verdict"], report["explanations"]) == ("regressed", [])


def test_a_confounder_with_few_calls_explains_nothing(guard: Guard) -> None:
    """Three failures of a tool with ten calls before are no outage."""
    session_id = watched(guard)
    record(guard.store, 9, 1, start=NOW - 7 * DAY, over=7 * DAY, tool="rare")
    record(guard.store, 0, 3, start=NOW, over=HOUR, tool="rare", error="KeyError: 1")
    record(guard.store, 10, 20, start=NOW, over=HOUR)
    assert check(guard, session_id, NOW + HOUR)["verdict"] == "regressed"
