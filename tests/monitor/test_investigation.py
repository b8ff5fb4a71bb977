"""The investigation of a rollback: after it, bounded, and never what stops it."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.errors import StoreBusy
from rollguard.loop.stages import RecoveryStage
from rollguard.model.rollback import Rollback
from rollguard.rollback import investigation_of
from rollguard.store import outbox
from rollguard.store.schema import notifications
from tests.conftest import NOW, Guard, PostgresServer
from tests.monitor.helpers import LATER, regressed


def rolled_back(guard: Guard, session_id: int) -> Rollback:
    """The rollback of the session, which the check called for."""
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)["rollback_performed"]
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    return rollback


def fail(guard: Guard, count: int, error: str) -> None:
    """So many failures of the deployed version, with an error of that text."""
    guard.store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": False,
            "error": error,
            "parameters": {"number": number},
            "executed_at": NOW + timedelta(milliseconds=number),
        }
        for number in range(count)
    )


def test_a_blob_in_an_error_stops_nothing(guard: Guard) -> None:
    """An error that another program stored as bytes is one more signature, and the rollback is made."""
    session_id = regressed(guard)
    blob = "x'ff00'" if guard.store.database.dialect == "sqlite" else "'\\xff00'::bytea::text"
    with guard.store.database.write() as connection:
        if guard.store.database.dialect == "sqlite":  # what was stored before it was refused
            connection.exec_driver_sql("DROP TRIGGER tool_executions_checked")
        connection.exec_driver_sql(
            "INSERT INTO tool_executions (tool_name, success, error, error_type, executed_at) "
            f"VALUES ('my_tool', FALSE, {blob}, {blob}, '{NOW:%Y-%m-%d %H:%M:%S}.000001')"
        )
    found = rolled_back(guard, session_id).investigation
    assert found is not None
    assert (found["failures_since"], found["incomplete"]) == (11, None)


def test_many_long_failures_delay_nothing(guard: Guard) -> None:
    """Of many failures of 8 KB an investigation reads the latest, cut, and says what it left out."""
    session_id = regressed(guard)
    fail(guard, 1_500, "ValueError: it's " + "1, 'a', 0x5f " * 600)
    guard.store.fold()
    session = guard.session(session_id)
    began = time.thread_time()
    found = investigation_of(guard.store, session, LATER, within=60.0)
    assert time.thread_time() - began < 2.0  # 0.1 s
    counted = (found["failures_since"], found["failures_before"], found["incomplete"])
    assert counted == (1_000, 5, "only the latest 1,000 and 5 failures were counted")
    assert all(len(sample["error"]) <= 500 for entry in found["signatures"] for sample in entry["samples"])


def test_its_failure_is_part_of_the_record(guard: Guard) -> None:
    """A database that takes too long to answer ends the investigation, which says so, and not the rollback."""
    session_id = regressed(guard)
    found = investigation_of(guard.store, guard.session(session_id), LATER, within=-1.0)
    slow = guard.store.database.dialect == "sqlite"  # PostgreSQL's shortest time is a millisecond
    assert not slow or "StoreBusy" in found["incomplete"]
    with guard.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE superseded_executions RENAME TO elsewhere")
    found = investigation_of(guard.store, guard.session(session_id), LATER)
    assert "it failed: " in found["incomplete"]
    assert found["signatures"] == []


def test_a_read_is_given_up_in_time(guard: Guard) -> None:
    """A statement that would run for hours ends when its time is over, and the connection is as good as before."""
    endless = "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT COUNT(*) FROM s"
    with pytest.raises(StoreBusy, match="took too long"), guard.store.database.read(within=0.01) as connection:
        connection.execute(sa.text(endless.format(10**12)))
    with guard.store.database.read() as connection:
        assert connection.scalar(sa.text(endless.format(200_000))) == 200_000


def test_the_rollback_comes_first(guard: Guard) -> None:
    """The last good version serves before anything is read for the investigation, which is told with the rollback."""
    session_id = regressed(guard)
    before: list[object] = []
    investigated = guard.store.rollbacks.investigated

    def note(rollback_id: int, found: dict[str, object]) -> Rollback:
        present = guard.store.rollbacks.get(rollback_id)
        told = guard.store.outbox.take_due(LATER + timedelta(seconds=1))
        before.append((present.state, present.investigation, guard.registry.call("my_tool"), told))
        return investigated(rollback_id, found)

    guard.store.rollbacks.investigated = note  # type: ignore[method-assign]
    rollback = rolled_back(guard, session_id)
    assert before == [("finished", None, 1, [])]
    assert rollback.investigation is not None
    (event,) = events_of(guard)
    assert event["details"]["investigation"] == rollback.investigation


def test_a_process_that_ends_before_it_looks(guard: Guard) -> None:
    """The next cycle investigates what finished, once; people are told after two seconds if nobody does."""
    session_id = regressed(guard)
    with pytest.MonkeyPatch.context() as ending:
        ending.setattr(guard.store.rollbacks, "investigated", lambda *_given: 1 / 0)
        assert rolled_back(guard, session_id).investigation is None
    assert guard.store.outbox.take_due(LATER + timedelta(seconds=1.9)) == []
    guard.calls(0, 50, start=LATER + timedelta(minutes=1))  # of the restored version, as far as calls tell
    RecoveryStage(guard.monitor.runner).run(LATER + timedelta(minutes=59))
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert rollback.investigation is not None
    assert rollback.investigation["failures_since"] == 10
    assert guard.store.rollbacks.uninvestigated(LATER) == []
    (pending,) = guard.store.outbox.take_due(LATER)
    assert pending.event["details"]["investigation"] == rollback.investigation


def test_what_is_found_is_added_to_no_event_that_is_being_sent(guard: Guard) -> None:
    """A process that takes the event at this moment sends it as it is, and nobody sends it twice."""
    session_id = regressed(guard)
    with pytest.MonkeyPatch.context() as ending:
        ending.setattr(guard.store.rollbacks, "investigated", lambda *_given: 1 / 0)
        rollback = rolled_back(guard, session_id)
    due = LATER + timedelta(seconds=2)
    taken = guard.store.outbox.take_due(due)
    guard.store.rollbacks.investigated(rollback.rollback_id, {"signatures": []})
    assert len(taken) == 1
    assert guard.store.outbox.take_due(due + timedelta(seconds=1)) == []


def test_an_event_that_is_taken_while_details_are_added(postgres: PostgresServer) -> None:
    """PostgreSQL lets another process take it between the look and the change; it keeps its lease."""
    taken: list[object] = []
    with ExecutionStore(postgres.new_database()) as store:
        store.outbox.add({"details": {"rollback_id": 7}}, LATER)

        def take(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if statement.startswith("UPDATE notifications SET event") and not taken:
                taken.extend(store.outbox.take_due(LATER))

        sa.event.listen(store.database._engine, "before_cursor_execute", take)
        with store.database.write() as connection:
            outbox.add_details(connection, 7, {"investigation": {}})
        assert len(taken) == 1
        assert store.outbox.take_due(LATER + timedelta(seconds=1)) == []


def events_of(guard: Guard) -> list[dict[str, Any]]:
    """What people were told."""
    with guard.store.database.read() as connection:
        return list(connection.scalars(sa.select(notifications.c.event)))


def test_the_event_of_a_held_rollback_has_it(guard: Guard) -> None:
    """Where a session only observes, what people are told has the investigation, and so has the record."""
    session_id = regressed(guard, mode="observe")
    guard.monitor.dispatcher.deliver(LATER)
    report = guard.monitor.session_checks.run([guard.session(session_id)], LATER)
    list(report)
    (pending,) = guard.store.outbox.take_due(LATER)
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert rollback.investigation == pending.event["details"]["investigation"]
    assert rollback.investigation["failures_since"] == 10


def test_it_looks_at_the_whole_time(guard: Guard) -> None:
    """Half of the calls that are read are the latest; the others are of the whole time, and none is read twice."""
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": False, "executed_at": NOW + timedelta(minutes=number)}
        for number in range(300)
    )
    read = partial(guard.store.samples.over, "my_tool", NOW, NOW + timedelta(days=1), failed=True, longest=9, within=60)
    minutes = [(call.executed_at - NOW) // timedelta(minutes=1) for call in read(20)]  # type: ignore[operator]
    assert minutes == [*range(299, 289, -1), *range(0, 290, 29)]
    assert len(read(300)) == len({call.execution_id for call in read(300)}) == 300
    assert len(read(301)) == 300


def test_many_failures_hide_no_cause(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Causes are looked for although only the latest failures were counted."""
    session_id = regressed(guard)
    for number in range(30):
        guard.store.store_tool_execution(
            tool_name="my_tool",
            success=number % 3 > 0,
            parameters={"city": ["Bonn", "Kiel", "Ulm"][number % 3]},
            executed_at=NOW + timedelta(seconds=number),
        )
    monkeypatch.setattr("rollguard.rollback.investigation._MOST", 5)
    found = investigation_of(guard.store, guard.session(session_id), LATER, within=60.0)
    assert found["incomplete"] == "only the latest 5 and 5 failures were counted"
    assert found["causes"]


def test_it_looks_for_the_cause(guard: Guard) -> None:
    """The record of a rollback names what the failing calls have in common."""
    session_id = regressed(guard)
    guard.store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": number % 3 > 0,
            "parameters": {"city": ["Bonn", "Kiel", "Ulm"][number % 3], "x" * 3_000 if number > 60 else "n": number},
            "executed_at": NOW + timedelta(milliseconds=number),
        }
        for number in range(90)
    )
    found = investigation_of(guard.store, guard.session(session_id), LATER, within=60.0)
    assert found["causes"][0]["predicate"] == '$.city = "Bonn"'
    assert found["causes"][0]["failures"] == 21
    assert investigation_of(guard.store, guard.session(session_id), LATER, within=-1.0)["causes"] == []
