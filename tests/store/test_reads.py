"""No read writes: each reading method of a store works where nothing can be written, whatever is to be aggregated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.errors import CodeQuarantined
from rollguard.judge import Rules
from rollguard.model.execution import columns_of
from rollguard.store import Beginning, Caps, Finding, Intention
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW, Guard, code

HOUR = timedelta(hours=1)
LATER = NOW + 9 * HOUR
WINDOW = [Selection("my_tool", NOW - HOUR, LATER)]
BY_HAND = Intention("my_tool", None, 1, 2, "by hand", "manual", "a person")


def planned(store: ExecutionStore) -> None:
    """Ask for the plan of a rollback that its claim would refuse."""
    with pytest.raises(CodeQuarantined):
        store.rollbacks.planned(BY_HAND, LATER)


OF_RELEASE = Intention("", None, None, None, "by hand", "manual", "a person", release_id=1)
CALL = ("t", True, 1.0, *[None] * 4, 0.0, *[None] * 4)
READS: dict[str, Callable[[ExecutionStore], object]] = {
    "actuations.unsettled": lambda store: store.actuations.unsettled(LATER),
    "executions.by_minute": lambda store: store.executions.by_minute([WINDOW]),
    "executions.count": lambda store: store.executions.count([WINDOW]),
    "executions.encoded": lambda store: store.executions.encoded("my_tool", "result", 1),
    "executions.error_text": lambda store: store.executions.error_text("ValueError", None),
    "executions.exact_rows": lambda store: store.executions.exact_rows(columns_of([store.executions.of_call(CALL)])),
    "executions.failures_before": lambda store: store.executions.failures_before(store.sessions.get(1), LATER, 9),
    "executions.failures_in": lambda store: store.executions.failures_in(WINDOW, 9),
    "executions.failures_since": lambda store: store.executions.failures_since(store.sessions.get(1), LATER, 9),
    "executions.latest": lambda store: store.executions.latest(store.sessions.get(1), NOW, LATER, 9),
    "executions.is_simple": lambda store: store.executions.is_simple({"a": 1}),
    "executions.of_call": lambda store: store.executions.of_call(CALL),
    "executions.place": lambda store: store.executions.place(ValueError("x"), None),
    "executions.rows": lambda store: store.executions.rows([{"tool_name": "my_tool", "success": True}]),
    "executions.row": lambda store: store.executions.row(tool_name="my_tool", success=True),
    "executions.tool_names": lambda store: store.executions.tool_names(),
    "executions.windows": lambda store: store.executions.windows(store.sessions.get(1), LATER),
    "executions.windows_after": lambda store: store.executions.windows_after(
        [(unverified, LATER) for unverified in store.rollbacks.unverified()]
    ),
    "executions.windows_of": lambda store: store.executions.windows_of([(store.sessions.get(1), LATER)]),
    "definitions.hangs_in": lambda store: store.definitions.hangs_in([], []),
    "definitions.since": lambda store: store.definitions.since(["my_tool"]),
    "in_flight.all": lambda store: store.in_flight.all(),
    "last_calls.by_hour": lambda store: store.last_calls.by_hour(["my_tool"], NOW),
    "last_calls.of_all": lambda store: store.last_calls.of_all(["my_tool"], NOW),
    "last_calls.of": lambda store: store.last_calls.of(["my_tool"]),
    "by_tool.calls": lambda store: store.by_tool.calls(NOW - HOUR),
    "by_tool.hours": lambda store: store.by_tool.hours(["my_tool"], NOW - HOUR),
    "by_tool.uses": lambda store: store.by_tool.uses(NOW - HOUR, NOW),
    "investigations.capped": lambda store: store.investigations.capped(NOW),
    "investigations.monitored": lambda store: store.investigations.monitored(),
    "investigations.outside": lambda store: store.investigations.outside(NOW),
    "investigations.recent": lambda store: store.investigations.recent("my_tool"),
    "attempts.busy": lambda store: store.attempts.busy(),
    "attempts.cooling_down": lambda store: store.attempts.cooling_down(NOW),
    "attempts.get": lambda store: store.attempts.get(1),
    "attempts.of_cause": lambda store: store.attempts.of_cause("my_tool", "key"),
    "attempts.recent": lambda store: store.attempts.recent(tool_name="my_tool"),
    "attempts.spent_tokens": lambda store: store.attempts.spent_tokens(NOW),
    "attempts.track_records": lambda store: store.attempts.track_records(),
    "attempt_events.of": lambda store: store.attempt_events.of(1),
    "attempt_events.recent": lambda store: store.attempt_events.recent(),
    "attempt_events.votes": lambda store: store.attempt_events.votes(1),
    "freezes.all": lambda store: store.freezes.all(),
    "loop_statistics.all": lambda store: store.loop_statistics.all(),
    "samples.of": lambda store: store.samples.of("my_tool", NOW, LATER, 9, failed=True),
    "samples.over": lambda store: store.samples.over(
        "my_tool", NOW - HOUR, LATER, 20, failed=True, longest=99, within=60.0
    ),
    "samples.first": lambda store: store.samples.first("my_tool", NOW, LATER, 9, "ValueError"),
    "baselines.outages_beside": lambda store: store.baselines.outages_beside("my_tool", NOW, LATER),
    "listing.by_tag": lambda store: store.listing.by_tag("tenant", tags={"shard": 1}),
    "listing.outcomes": lambda store: store.listing.outcomes("my_tool", success=True, since=NOW, limit=9),
    "listing.with_ids": lambda store: store.listing.with_ids(["a"]),
    "listing.recent": lambda store: store.listing.recent("my_tool", tags={"tenant": "a"}),
    "outbox.failing": lambda store: store.outbox.failing(),
    "outbox.undelivered": lambda store: store.outbox.undelivered(),
    "pointers.moved_since": lambda store: store.pointers.moved_since(0),
    "pointers.withdrawn": lambda store: store.pointers.withdrawn(),
    "releases.find": lambda store: store.releases.find("v1"),
    "releases.get": lambda store: store.releases.get("v1"),
    "releases.labels": lambda store: store.releases.labels("my_tool"),
    "releases.latest_with": lambda store: store.releases.latest_with("my_tool", "folder"),
    "releases.of_programs": lambda store: store.releases.of_programs(),
    "releases.rolled_back": lambda store: store.releases.rolled_back(1),
    "releases.recent": lambda store: store.releases.recent(),
    "releases.tools": lambda store: store.releases.tools(1),
    "rollbacks.count": lambda store: store.rollbacks.count(NOW),
    "rollbacks.get": lambda store: store.rollbacks.get(1),
    "rollouts.get": lambda store: store.rollouts.get(1),
    "rollouts.of_sessions": lambda store: store.rollouts.of_sessions([1, 2]),
    "rollouts.open": lambda store: store.rollouts.open(),
    "rollouts.of_session": lambda store: store.rollouts.of_session(1),
    "rollouts.open_of": lambda store: store.rollouts.open_of("my_tool"),
    "rollouts.recent": lambda store: store.rollouts.recent("my_tool"),
    "rollouts.refuse": lambda store: store.rollouts.refuse(["my_tool"]),
    "rollouts.splits": lambda store: store.rollouts.splits(),
    "pointers.moves": lambda store: store.pointers.moves(),
    "quarantine.history": lambda store: store.quarantine.history(),
    "quarantine.in_force": lambda store: store.quarantine.in_force(),
    "quarantine.refuse": lambda store: store.quarantine.refuse(store.versions.get("my_tool", 1)),
    "rehearsals.replay": lambda store: store.rehearsals.replay("my_tool"),
    "rehearsals.shadow": lambda store: store.rehearsals.shadow("my_tool"),
    "reports.active_monitoring": lambda store: store.reports.active_monitoring(),
    "reports.deployment_stability": lambda store: store.reports.deployment_stability(),
    "reports.latest": lambda store: store.reports.latest(),
    "reports.improvement_history": lambda store: store.reports.improvement_history(),
    "reports.silent": lambda store: store.reports.silent(),
    "reports.testing_summary": lambda store: store.reports.testing_summary(),
    "reports.tool_health_history": lambda store: store.reports.tool_health_history("my_tool"),
    "reports.tool_testing_history": lambda store: store.reports.tool_testing_history("my_tool"),
    "reports.version_history": lambda store: store.reports.version_history("my_tool"),
    "reports.version_stability": lambda store: store.reports.version_stability(),
    "rollbacks.held": lambda store: store.rollbacks.held(1, LATER),
    "rollbacks.of_session": lambda store: store.rollbacks.of_session(1),
    "rollbacks.of_release": lambda store: store.rollbacks.of_release(1),
    "rollbacks.open": lambda store: store.rollbacks.open(),
    "rollbacks.planned": planned,
    "rollbacks.planned_release": lambda store: store.rollbacks.planned_release(OF_RELEASE),
    "rollbacks.recent": lambda store: store.rollbacks.recent(),
    "rollbacks.unfinished": lambda store: store.rollbacks.unfinished(),
    "rollbacks.uninvestigated": lambda store: store.rollbacks.uninvestigated(NOW),
    "rollbacks.unverified": lambda store: store.rollbacks.unverified(),
    "sessions.active": lambda store: store.sessions.active(),
    "sessions.check": lambda store: store.sessions.check(1),
    "sessions.checks": lambda store: store.sessions.checks(1),
    "sessions.deployed_between": lambda store: store.sessions.deployed_between(NOW, LATER),
    "sessions.get": lambda store: store.sessions.get(1),
    "sessions.recent": lambda store: store.sessions.recent(),
    "watchers.all": lambda store: store.watchers.all(),
    "watchers.watching": lambda store: store.watchers.watching(),
    "edits.place_of": lambda store: store.edits.place_of("my_tool", "0" * 64),
    "baselines.of": lambda store: store.baselines.of(store.sessions.recent(), NOW + HOUR),
    "executions.by_hour": lambda store: store.executions.by_hour([WINDOW]),
    "executions.totals": lambda store: store.executions.totals([WINDOW]),
    "sessions.creeping": lambda store: store.sessions.creeping(),
    "spans.waiting": lambda store: store.spans.waiting(),
    "tokens.all": lambda store: store.tokens.all(),
    "tokens.exist": lambda store: store.tokens.exist(),
    "tokens.is_holder": lambda store: store.tokens.is_holder("somebody", NOW),
    "tokens.of_secret": lambda store: store.tokens.of_secret("rgt_"),
    "versions.deployments": lambda store: store.versions.deployments("my_tool"),
    "versions.find": lambda store: store.versions.find("my_tool", "0" * 64),
    "versions.get": lambda store: store.versions.get("my_tool", 1),
    "versions.history": lambda store: store.versions.history("my_tool"),
    "versions.live": lambda store: store.versions.live("my_tool"),
    "versions.live_of_all": lambda store: store.versions.live_of_all(),
    "versions.previous_good": lambda store: store.versions.previous_good("my_tool"),
}
WRITES = {
    *("amendments.apply", "actuations.postpone", "actuations.release", "actuations.settle", "actuations.take"),
    *("executions.refresh_rollups", "executions.try_writing", "executions.write", "executions.write_from"),
    *("attempts.begin", "attempts.let_go", "attempts.move", "attempts.renew", "attempts.take", "freezes.set"),
    *("loop_statistics.begin_if_due", "loop_statistics.count"),
    *("executions.write_within", "outbox.hold", "spans.add", "spans.forget", "spans.record_due"),
    *("investigations.keep", "definitions.note", "edits.monitor", "edits.serve", "in_flight.publish"),
    *("outbox.add", "outbox.delivered", "outbox.retry", "outbox.take_due", "pointers.while_live"),
    *("pointers.while_withdrawn", "releases.go_live", "rollbacks.claim_release"),
    *("quarantine.lift", "quarantine.noticed", "retention.tidy"),
    *("rollouts.begin", "rollouts.begin_confirmation", "rollouts.counted", "rollouts.move"),
    *("rehearsals.add_replay", "rehearsals.add_shadow"),
    *("rollbacks.attempt", "rollbacks.claim", "rollbacks.fail", "rollbacks.finish", "rollbacks.overtake_if_stale"),
    *("rollbacks.postpone", "rollbacks.restored", "rollbacks.verify", "rollbacks.investigated"),
    *("sessions.cancel", "sessions.complete", "sessions.let_go", "sessions.note_baseline", "sessions.record_check"),
    *("sessions.record_checks", "sessions.start", "sessions.take"),
    *("tokens.create", "tokens.revoke"),
    *("watchers.beat", "watchers.leave", "watchers.report"),
    *("versions.add", "versions.go_live", "versions.held"),
}


def beside(guard: Guard) -> None:
    """Let version 2 of another tool serve beside version 1."""
    kept = guard.registry.keep("other_tool", code(2, "other_tool")).version_number
    live = guard.store.versions.live("other_tool")
    assert live is not None
    guard.store.rollouts.begin(
        "other_tool",
        kept,
        shares=[0.1],
        expected_live=live.deployment_id,
        watch=Beginning(Rules(), NOW),
        started_by="a person",
        reason=None,
        started_at=NOW,
    )


@pytest.fixture
def read_only(guard: Guard, url: str) -> Iterator[ExecutionStore]:
    """A store that can't be written, after a rollback, with many tries of requests that no rollup has."""
    guard.deploy(1)
    guard.calls(100, 0, start=NOW)
    guard.deploy(2, at=NOW + HOUR)
    session_id = guard.watch(at=NOW + HOUR)
    guard.calls(20, 80, start=NOW + HOUR)
    found = Finding("my_tool", "new_error", "high", "x", 1, "0" * 64, {})
    assert guard.store.attempts.begin(found, Caps(9, 9, 9), by="find", now=NOW) is not None
    guard.registry.release("v1", {"other_tool": code(1, "other_tool")}, released_at=NOW)
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 2 * HOUR)["rollback_performed"]
    beside(guard)
    another_program = sa.text("""
    WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < 1199)
    INSERT INTO tool_executions (tool_name, success, version_number, executed_at, request_id)
    SELECT 'my_tool', i >= 600, 1, :at, 'request ' || (i % 600) FROM numbers""")
    with guard.store.database.write() as connection:
        connection.execute(another_program.bindparams(sa.bindparam("at", NOW + 3 * HOUR, sa.DateTime(timezone=True))))
        if guard.store.database.dialect == "postgresql":
            name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    guard.store.close()
    if url.startswith("sqlite"):
        url = f"sqlite:///file:{guard.store.database.path}?mode=ro&uri=true"
    with ExecutionStore(url) as store:
        yield store


def test_every_read_works_where_nothing_can_be_written(read_only: ExecutionStore) -> None:
    """Each reading method answers, and counts a request once although nothing could be aggregated."""
    for read in READS.values():
        read(read_only)
    (window,) = read_only.executions.count([[Selection("my_tool", NOW + 3 * HOUR, LATER)]])
    assert (window.total, window.successes) == (600, 600)
    assert len(read_only.executions.failures_in(WINDOW, 2_000)) == 80


def test_every_method_is_known_to_read_or_to_write(read_only: ExecutionStore) -> None:
    """A method that is added to the store is added to the list of those that read, or of those that write."""
    parts: dict[str, Any] = {name: part for name, part in vars(read_only).items() if name != "database"}
    methods = {f"{name}.{method}" for name, part in parts.items() for method, _ in inspect.getmembers(part, callable)}
    assert {method for method in methods if "._" not in method} == READS.keys() | WRITES
