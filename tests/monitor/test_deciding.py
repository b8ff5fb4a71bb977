"""Deciding on what the store holds: which executions count, what else happened, and when the watch ends."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from rollguard import DeploymentMonitor, ExecutionStore
from rollguard.judge import differences, replay
from rollguard.model.event import EventKind
from tests.acceptance.helpers import Channel
from tests.conftest import NOW, Guard
from tests.watching import check_all, check_arrivals

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EVIDENCE: dict[str, Any] = {"decision": "evidence"}


def _record(
    store: ExecutionStore,
    successes: int,
    failures: int,
    *,
    start: datetime,
    over: timedelta,
    tool: str = "my_tool",
    error: str = "ValueError: no",
    version: int | None = None,
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
            "version_number": version,
        }
        for i in range(total)
    )


def _watched(guard: Guard, **rules: object) -> int:
    """Version 2 is live from NOW on; before it 95 of 100 calls a day succeeded, for a week."""
    guard.deploy(1, at=NOW - 8 * DAY)
    guard.deploy(2, at=NOW)
    _record(guard.store, 665, 35, start=NOW - 7 * DAY, over=7 * DAY)
    return guard.watch(at=NOW, **rules)


def _check(guard: Guard, session_id: int, at: datetime) -> dict[str, Any]:
    return guard.monitor.check_health("my_tool", session_id, now=at)


def _counts(report: dict[str, Any], side: str = "current") -> tuple[int, int]:
    return report[side]["total_executions"], report[side]["successes"]


# --- which executions count ------------------------------------------------------------------------------------------


def _attempt(store: ExecutionStore, request: str | None, success: bool, at: datetime, **more: Any) -> None:
    store.store_tool_execution(
        tool_name="my_tool", success=success, executed_at=at, request_id=request, duration_ms=1.0, **more
    )


def test_executions_of_a_request_count_once_with_the_last_outcome(guard: Guard) -> None:
    """Retries that name their request count once, whatever order they arrive in; without a name nothing is guessed."""
    session_id = _watched(guard)
    _attempt(guard.store, "a", True, NOW + 3 * MINUTE)
    _attempt(guard.store, "a", False, NOW + 1 * MINUTE)
    _attempt(guard.store, "a", False, NOW + 2 * MINUTE)
    _attempt(guard.store, "b", True, NOW + 1 * MINUTE)
    _attempt(guard.store, "b", False, NOW + 2 * MINUTE)
    _attempt(guard.store, None, False, NOW + 1 * MINUTE)
    _attempt(guard.store, None, True, NOW + 2 * MINUTE)
    assert _counts(_check(guard, session_id, NOW + HOUR)) == (4, 2)
    _attempt(guard.store, "b", True, NOW + 4 * MINUTE)  # a retry that arrives after a check
    report = _check(guard, session_id, NOW + HOUR)
    assert _counts(report) == (4, 3)
    assert report["current"]["avg_duration_ms"] == 1.0


def test_requests_of_other_programs_count_once_too(guard: Guard) -> None:
    """Plain INSERTs with a request_id are seen like the others."""
    session_id = _watched(guard)
    with guard.store.database.write() as connection:
        for second, success in ((1, False), (2, False), (3, True)):
            connection.execute(
                sa.text(
                    "INSERT INTO tool_executions (tool_name, success, executed_at, request_id) VALUES (:t, :s, :a, 'r')"
                ),
                {"t": "my_tool", "s": success, "a": f"2026-03-01 12:00:0{second}.000000"},
            )
    assert _counts(_check(guard, session_id, NOW + HOUR)) == (1, 1)


def test_a_request_that_crosses_the_deployment_counts_where_it_ended(guard: Guard) -> None:
    """A call that failed before the deployment and was made again after it is no failure of the baseline."""
    session_id = _watched(guard)
    _attempt(guard.store, "a", False, NOW - MINUTE)
    before = _counts(_check(guard, session_id, NOW + 5 * MINUTE), "baseline")  # later it would be kept
    _attempt(guard.store, "a", True, NOW + MINUTE)
    report = _check(guard, session_id, NOW + HOUR)
    assert _counts(report, "baseline") == (before[0] - 1, before[1])
    assert _counts(report) == (1, 1)


def test_calls_made_again_are_collapsed_where_that_is_wished(guard: Guard) -> None:
    """With `collapse_retries` a failed call made again soon with the same parameters does not count."""
    session_id = _watched(guard, collapse_retries=30)
    again = {"parameters": {"x": 1}}
    _attempt(guard.store, None, False, NOW + MINUTE, **again)
    _attempt(guard.store, None, False, NOW + MINUTE + timedelta(seconds=20), **again)
    _attempt(guard.store, None, True, NOW + MINUTE + timedelta(seconds=50), **again)
    _attempt(guard.store, None, False, NOW + MINUTE, parameters={"x": 2})  # another call
    _attempt(guard.store, None, False, NOW + 2 * MINUTE, parameters={"x": 3})
    _attempt(guard.store, None, True, NOW + 2 * MINUTE + timedelta(seconds=31), parameters={"x": 3})  # too late
    assert _counts(_check(guard, session_id, NOW + HOUR)) == (4, 2)


def test_calls_made_again_are_no_failures_in_a_row(guard: Guard) -> None:
    """A call that failed three times with the same parameters and is still being tried is one failure to a trigger."""
    session_id = _watched(guard, collapse_retries=30, fast_triggers="alone")
    for i, x in enumerate((1, 1, 1, 2)):
        _attempt(guard.store, None, False, NOW + i * timedelta(seconds=10), parameters={"x": x})
    report = _check(guard, session_id, NOW + MINUTE)
    assert (_counts(report), report["trigger"]) == ((2, 0), None)
    _attempt(guard.store, None, False, NOW + MINUTE, parameters={"x": 3})
    assert _check(guard, session_id, NOW + 2 * MINUTE)["trigger"] == "consecutive_failures"


def test_the_notes_on_a_baseline_count_what_the_verdict_counts(guard: Guard) -> None:
    """Where only the caller's errors grew within the baseline, its success rate did not change."""
    _record(guard.store, 1_000, 0, start=NOW - 6 * DAY, over=3 * DAY)
    _record(guard.store, 500, 500, start=NOW - 3 * DAY, over=3 * DAY, error="ValidationError: bad input")
    notes = [
        guard.session(guard.watch(at=NOW, caller_errors=errors)).baseline_notes for errors in ([], ["ValidationError"])
    ]
    assert [len(some) for some in notes] == [1, 0]


def test_the_callers_errors_are_not_counted(guard: Guard) -> None:
    """Executions that failed by an error declared the caller's count on neither side, fold or no fold."""
    session_id = _watched(guard, caller_errors=["ValidationError"])
    _record(guard.store, 20, 0, start=NOW, over=HOUR)
    _record(guard.store, 0, 600, start=NOW, over=HOUR, error="ValidationError: bad input")
    _record(guard.store, 0, 2, start=NOW, over=HOUR, error="ValueError: no")
    _record(guard.store, 0, 50, start=NOW - DAY, over=HOUR, error="ValidationError: bad input")
    report = _check(guard, session_id, NOW + 2 * HOUR)
    assert _counts(report) == (22, 20)
    assert _counts(report, "baseline") == (700, 665)
    assert not report["needs_rollback"]


def test_by_default_every_count_is_the_contracts(guard: Guard) -> None:
    """Without any of this the counts are COUNT(*)."""
    session_id = _watched(guard)
    _record(guard.store, 3, 9, start=NOW, over=HOUR, error="ValidationError: bad input")
    assert _counts(_check(guard, session_id, NOW + HOUR)) == (12, 3)


def test_the_same_hours_of_the_week(guard: Guard) -> None:
    """With `same_hours` the baseline is what the watched hours held in the weeks before."""
    guard.deploy(1, at=NOW - 40 * DAY)
    guard.deploy(2, at=NOW)
    for week in range(1, 5):
        _record(guard.store, 8, 2, start=NOW - 7 * week * DAY, over=2 * HOUR)  # the same hours
        _record(guard.store, 50, 0, start=NOW - 7 * week * DAY + 3 * HOUR, over=HOUR)  # others
    session_id = guard.watch(at=NOW, baseline="same_hours", baseline_window_days=28)
    _record(guard.store, 8, 2, start=NOW, over=2 * HOUR)
    report = _check(guard, session_id, NOW + 2 * HOUR)
    assert _counts(report, "baseline") == (40, 32)
    assert not report["needs_rollback"]
    assert "same hours" in report["baseline"]["period"]
    plain = guard.watch(at=NOW, baseline_window_days=28)
    assert _counts(_check(guard, plain, NOW + 2 * HOUR), "baseline") == (240, 232)


def test_the_evidence_rule_keeps_its_baseline_of_the_same_hours(guard: Guard) -> None:
    """A baseline that grew with the watch would void the bound, so it is that of the whole watch from the start."""
    guard.deploy(1, at=NOW - 40 * DAY)
    guard.deploy(2, at=NOW)
    _record(guard.store, 48, 0, start=NOW - 7 * DAY, over=DAY)
    session_id = guard.watch(at=NOW, baseline="same_hours", **EVIDENCE)
    counts = {_counts(_check(guard, session_id, NOW + hours * HOUR), "baseline") for hours in (1, 5, 20)}
    assert counts == {(48, 48)}


# --- between the schedule's checks -----------------------------------------------------------------------------------


def test_three_failures_in_a_row_roll_back_at_once(guard: Guard) -> None:
    """What just arrived is looked at, and a tool that only fails is rolled back at its third call."""
    session_id = _watched(guard)
    _record(guard.store, 0, 2, start=NOW, over=MINUTE)
    assert [r["rollback_performed"] for r in check_arrivals(guard.monitor, {"my_tool"}, now=NOW + MINUTE)] == [False]
    _record(guard.store, 0, 1, start=NOW + MINUTE, over=MINUTE)
    (result,) = check_arrivals(guard.monitor, {"my_tool"}, now=NOW + 2 * MINUTE)
    assert (result["rollback_performed"], result["rollback_type"]) == (True, "fast")
    assert result["trigger"] == "consecutive_failures"
    assert guard.session(session_id).status == "rolled_back"
    (rollback,) = guard.store.rollbacks.recent()
    assert rollback.rollback_type == "fast"


def test_looks_between_checks_leave_the_threshold_to_its_schedule(guard: Guard) -> None:
    """A drop without evidence acts at the scheduled check, not before; and a look that finds nothing keeps nothing."""
    guard.deploy(1, at=NOW - 8 * DAY)
    guard.deploy(2, at=NOW)
    _record(guard.store, 19, 1, start=NOW - DAY, over=DAY)
    session_id = guard.watch(at=NOW)
    guard.calls(8, 2, start=NOW)
    assert not check_arrivals(guard.monitor, {"my_tool"}, now=NOW + HOUR)[0]["rollback_performed"]
    assert guard.store.sessions.checks(session_id) == []
    assert check_arrivals(guard.monitor, {"another"}, now=NOW + HOUR) == []
    assert check_all(guard.monitor, now=NOW + HOUR)[0]["rollback_performed"]


def test_a_trigger_looks_at_the_deployed_version_only(guard: Guard) -> None:
    """Failures of the version before, still running elsewhere, are no pattern of the new one."""
    _watched(guard, fast_triggers="alone")
    _record(guard.store, 0, 8, start=NOW, over=MINUTE, version=1)
    assert not check_arrivals(guard.monitor, {"my_tool"}, now=NOW + MINUTE)[0]["needs_rollback"]
    _record(guard.store, 0, 3, start=NOW, over=MINUTE, version=2)
    assert check_arrivals(guard.monitor, {"my_tool"}, now=NOW + MINUTE)[0]["rollback_type"] == "fast"


def test_the_evidence_rule_acts_without_a_schedule(guard: Guard) -> None:
    """Nine failures in thirty calls are evidence against 5 % before, and roll back when they arrive."""
    _watched(guard, **EVIDENCE)
    _record(guard.store, 21, 9, start=NOW, over=HOUR)
    (result,) = check_arrivals(guard.monitor, {"my_tool"}, now=NOW + HOUR)
    assert (result["rollback_performed"], result["rollback_type"]) == (True, "evidence")


# --- what else happened ----------------------------------------------------------------------------------------------


def _other(guard: Guard, *, tool: str = "search") -> None:
    _record(guard.store, 690, 10, start=NOW - 7 * DAY, over=7 * DAY, tool=tool)


def _outage(
    guard: Guard, start: datetime, over: timedelta, *tools: str, error: str = "TimeoutError: no answer"
) -> None:
    for tool in tools:
        _record(guard.store, 3, 27, start=start, over=over, tool=tool, error=error)


def test_an_outage_does_not_roll_back_under_the_evidence_rule(guard: Guard) -> None:
    """While another tool fails in the same minutes the verdict is external: told once, watched on, not rolled back."""
    channel = Channel()
    monitor = DeploymentMonitor(
        execution_store=guard.store, tool_registry=guard.registry, notifiers=[channel], decision="evidence"
    )
    _watched(guard)
    session_id = monitor.start_monitoring("my_tool", NOW, now=NOW)
    _other(guard)
    _record(guard.store, 100, 5, start=NOW, over=2 * HOUR)
    _record(guard.store, 30, 1, start=NOW, over=2 * HOUR, tool="search")
    _outage(guard, NOW + 2 * HOUR, HOUR / 2, "my_tool", "search")
    for minutes in (30, 31):
        result = monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 2 * HOUR + minutes * MINUTE)
        assert (result["verdict"], result["rollback_performed"]) == ("external", False)
    assert any("search fails too in the same minutes" in sentence for sentence in result["explanations"])
    assert [event.kind for event in channel.events] == [EventKind.EXTERNAL]
    assert guard.session(session_id).active
    # The outage is over, and the tool goes on failing: that is its own.
    _record(guard.store, 30, 0, start=NOW + 2.5 * HOUR, over=HOUR, tool="search")
    _record(guard.store, 5, 25, start=NOW + 2.5 * HOUR, over=HOUR)
    result = monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 3.5 * HOUR)
    assert (result["rollback_performed"], result["rollback_type"]) == (True, "evidence")
    assert any("does not explain the rest" in reason for reason in result["reasons"])


def test_an_outage_is_only_told_under_the_threshold_rule(guard: Guard) -> None:
    """The contract's rule rolls back all the same, and says what else failed."""
    session_id = _watched(guard)
    _other(guard)
    _outage(guard, NOW, HOUR, "my_tool", "search")
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + HOUR)
    assert result["rollback_performed"]
    assert any("search fails too" in reason for reason in result["reasons"])


def test_a_tool_that_was_deployed_badly_itself_is_no_confounder(guard: Guard) -> None:
    """Two bad deployments at the same time do not excuse each other."""
    session_id = _watched(guard, **EVIDENCE)
    _other(guard)
    for version in (1, 2):
        guard.deploy(version, tool="search", at=NOW - (2 - version) * DAY)
    guard.watch(tool="search", at=NOW)
    _outage(guard, NOW, HOUR, "my_tool", "search")
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + HOUR)
    assert result["rollback_performed"]


def test_other_versions_that_fail_too_explain_it(guard: Guard) -> None:
    """Where the version before, still running elsewhere, fails in the same minutes, the deployment is not the cause."""
    session_id = _watched(guard, **EVIDENCE)
    _record(guard.store, 4, 26, start=NOW, over=HOUR, version=1)
    _record(guard.store, 4, 26, start=NOW, over=HOUR, version=2)
    report = _check(guard, session_id, NOW + HOUR)
    assert (report["verdict"], report["needs_rollback"]) == ("external", False)
    assert any("other versions of the tool fail too" in sentence for sentence in report["explanations"])


def test_a_tool_that_failed_already_in_the_hour_before(guard: Guard) -> None:
    """What was wrong before the deployment is not its fault."""
    session_id = _watched(guard, **EVIDENCE)
    _record(guard.store, 10, 30, start=NOW - HOUR, over=HOUR)
    _record(guard.store, 10, 30, start=NOW, over=HOUR)
    report = _check(guard, session_id, NOW + HOUR)
    assert report["verdict"] == "external"
    assert any("already in the hour before" in sentence for sentence in report["explanations"])


def test_an_error_that_other_tools_show_too_explains_it(guard: Guard) -> None:
    """A rare tool's failures are explained by an error that others begin to show, even where those are few."""
    session_id = _watched(guard, **EVIDENCE)
    for tool in ("search", "fetch", "store", "send", "draw", "plan"):
        _record(guard.store, 700, 7, start=NOW - 7 * DAY, over=7 * DAY, tool=tool)
        _record(guard.store, 10, 2, start=NOW, over=HOUR, tool=tool, error="ConnectionError: db 7 refused")
    _record(guard.store, 20, 20, start=NOW, over=HOUR, error="ConnectionError: db 3 refused")
    report = _check(guard, session_id, NOW + HOUR)
    assert report["verdict"] == "external"
    assert report["explanations"] == [
        "other tools show the same error (ConnectionError: db <number> refused): 12 of 72, 0 of 4242 before"
    ]


def test_every_kept_check_can_be_made_again(guard: Guard) -> None:
    """Whatever a check went by, its record leads to the same decision, bit for bit, from whichever database."""
    session_id = _watched(guard, **EVIDENCE)
    _other(guard)
    _outage(guard, NOW, HOUR, "my_tool", "search")
    for minutes in (10, 30, 60):
        guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + minutes * MINUTE)
    checks = guard.store.sessions.checks(session_id)
    assert len(checks) == 3
    for check in checks:
        assert differences(check["record"], replay(json.loads(json.dumps(check["record"])))) == []


# --- the end of the watch --------------------------------------------------------------------------------------------


def test_a_watch_without_enough_data_goes_on_where_that_is_wished(guard: Guard) -> None:
    """`extend_until_sufficient` keeps watching until there is enough, and then judges by all that came."""
    session_id = _watched(guard, extend_until_sufficient=48)
    _record(guard.store, 3, 1, start=NOW, over=DAY)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 25 * HOUR)
    assert (result["session_status"], result["executions_needed"]) == ("active", 6)
    _record(guard.store, 4, 4, start=NOW + 26 * HOUR, over=HOUR)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 30 * HOUR)
    assert (result["rollback_performed"], _counts(result)) == (True, (12, 7))


def test_an_extended_watch_ends_unproven(guard: Guard) -> None:
    """At the limit a session without enough data completes as unproven."""
    session_id = _watched(guard, extend_until_sufficient=48)
    _record(guard.store, 3, 1, start=NOW, over=DAY)
    assert (
        guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 71 * HOUR)["session_status"] == "active"
    )
    assert (
        guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 72 * HOUR)["session_status"]
        == "completed"
    )
    assert guard.session(session_id).outcome == "unproven"


def test_what_is_mixed_in_the_baseline_is_told(guard: Guard) -> None:
    """Several versions, a rollback and a lasting change inside the baseline are told with the report."""
    for version, days in ((1, 8), (2, 3), (3, 0)):
        guard.deploy(version, at=NOW - days * DAY)
    _record(guard.store, 400, 0, start=NOW - 7 * DAY, over=4 * DAY)
    _record(guard.store, 200, 100, start=NOW - 3 * DAY, over=3 * DAY)
    notes = _check(guard, guard.watch(at=NOW), NOW + HOUR)["baseline_notes"]
    assert notes[0] == "the baseline is mixed: versions 1, 2 were live in it"
    assert notes[1].startswith("the success rate changed within the baseline, about 2026-02-26 1")


def test_a_drop_that_may_be_chance_is_told_once(guard: Guard) -> None:
    """Under the evidence rule a drop without evidence alerts when it begins."""
    channel = Channel()
    monitor = DeploymentMonitor(execution_store=guard.store, tool_registry=guard.registry, notifiers=[channel])
    guard.deploy(1, at=NOW - 8 * DAY)
    guard.deploy(2, at=NOW)
    _record(guard.store, 95, 5, start=NOW - DAY, over=DAY)
    session_id = monitor.start_monitoring("my_tool", NOW, now=NOW, **EVIDENCE)
    _record(guard.store, 16, 4, start=NOW, over=HOUR)
    for minutes in (60, 65):
        result = monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + minutes * MINUTE)
        assert (result["verdict"], result["needs_rollback"]) == ("insufficient_data", False)
        assert result["executions_needed"] > 0
    assert [event.kind for event in channel.events] == [EventKind.UNPROVEN_DROP]
