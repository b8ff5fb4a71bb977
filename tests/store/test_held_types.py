"""What other programs write: refused by type on SQLite as on PostgreSQL, and what is there already stops nothing."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import AutonomousLoop, ExecutionStore
from rollguard.errors import StoreError
from rollguard.judge import Window
from rollguard.rollback import verify_all
from rollguard.store.database.types import UTCDateTime
from rollguard.store.rollups.selection import Selection
from rollguard.store.schema import ONLY_ON, metadata
from tests.conftest import NOW, Guard
from tests.monitor.helpers import LATER, Told, regressed

HOUR = timedelta(hours=1)
WRONG = {
    sa.String: ["x'00ff'"],
    sa.Integer: ["'one'", "1.5", "x'00'"],
    sa.Float: ["'abc'", "x'00'"],
    sa.Boolean: ["2", "'yes'", "x'01'"],
    sa.DateTime: ["'soon'", "x'00'"],
    sa.LargeBinary: ["'text'", "1"],
}
GOOD = {
    "disagreements": "0",
    "failures": "0",
    "status": "'active'",
    "width": "60",
    "kind": "'edit'",
    "releases.kind": "'tools'",
    "releases.state": "'live'",
    "only_row": "1",
    "rollouts.kind": "'canary'",
    "rollouts.state": "'ramping'",
    "share": "0.5",
    "new_version": "2",
    "arm": "'new'",
    "improvement_attempts.state": "'found'",
    "state": "'finished'",
    "histogram": "'{}'",
}


GOOD_IN = {"rollup_state": {"rolled_to": "0"}, "releases": {"kind": "'tools'"}}


def _columns() -> list[sa.Column[Any]]:
    return [
        column
        for table in metadata.tables.values()
        if table.info.get(ONLY_ON, "sqlite") == "sqlite"
        for column in table.columns
    ]


def _kind(column: sa.Column[Any]) -> type:
    made: Any = column.type.dialect_impl(sa.create_engine("sqlite://").dialect)
    made = getattr(made, "impl", made)
    return next(
        kind
        for kind in (sa.Boolean, sa.Integer, sa.Float, sa.DateTime, sa.LargeBinary, sa.String)
        if isinstance(made, kind)
    )


def _good(column: sa.Column[Any]) -> str:
    for name in (f"{column.table.name}.{column.name}", column.name):
        if name in GOOD:
            return GOOD[name]
    if isinstance(column.type, UTCDateTime):
        return "'2026-03-01 12:00:00'"
    return {sa.LargeBinary: "x'00'", sa.Integer: "1", sa.Boolean: "0", sa.Float: "1.0"}.get(_kind(column), "'text'")


def _wrong(column: sa.Column[Any]) -> list[str]:
    length = getattr(column.type, "length", None)
    return [*WRONG[_kind(column)], *([f"'{'x' * (length + 1)}'"] if length else [])]


def _insert(table: sa.Table, row: dict[str, str]) -> str:
    return f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({', '.join(row.values())})"


def _taken(connection: sa.Connection, statement: str) -> list[str]:
    """The statement, if it is not refused; one that is refused changes nothing."""
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(statement)
    except sqlite3.IntegrityError:
        return []
    return [statement]


def test_every_column_holds_its_type() -> None:
    """On SQLite no column of any table takes what its type does not allow, neither in a new row nor a changed one."""
    taken = []
    with ExecutionStore("sqlite:///:memory:") as store, store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM rollup_state")
        for event in ("update", "delete"):  # rows of this table are neither changed nor removed
            connection.exec_driver_sql(f"DROP TRIGGER improvement_events_{event}_refused")
        for table in {column.table.name: column.table for column in _columns()}.values():
            needed = {c.name: _good(c) for c in table.columns if not c.nullable and c.server_default is None}
            needed |= GOOD_IN.get(table.name, {})
            wrong = [(column.name, value) for column in table.columns for value in _wrong(column)]
            for name, value in wrong:
                row = {**needed, name: value}
                taken += _taken(
                    connection, f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({', '.join(row.values())})"
                )
            names = ", ".join(needed)
            connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({', '.join(needed.values())})")
            for name, value in wrong:
                if not table.c[name].primary_key:
                    taken += _taken(connection, f"UPDATE {table.name} SET {name} = {value}")
            connection.exec_driver_sql(f"DELETE FROM {table.name}")
    assert taken == []


@pytest.mark.parametrize("written", ["2026-03-01 10:00:00", "2026-03-01T10:00:00Z", "2026-03-01T12:00:00+02:00"])
def test_a_time_in_another_form(store: ExecutionStore, written: str) -> None:
    """A time that another program writes is the same moment, whatever form it has, when it is read and compared."""
    insert = "INSERT INTO deployment_monitoring (tool_name, deployment_time) VALUES ('t', '{}')"
    with store.database.write() as connection:
        connection.exec_driver_sql(insert.format(written if "T" in written else f"{written}+00:00"))
    assert store.sessions.active()[0].deployment_time == NOW - 2 * HOUR
    with store.database.write() as connection:
        changed = f"UPDATE deployment_monitoring SET deployment_time = '{written}'"
        connection.exec_driver_sql(changed if "T" in written else changed.replace("00'", "00+00:00'"))
    assert store.sessions.deployed_between(NOW - 2 * HOUR, NOW - 2 * HOUR) == {"t": [NOW - 2 * HOUR]}


# --- what is there already ------------------------------------------------------------------------------------------


def _untyped(guard: Guard) -> None:
    """A store from before types were held."""
    with guard.store.database.write() as connection:
        if guard.store.database.dialect == "sqlite":
            named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name NOT LIKE '%deleted'"
            for (name,) in connection.exec_driver_sql(named).all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")


def _write(guard: Guard, sql: str) -> None:
    with guard.store.database.write() as connection:
        connection.execution_options(no_parameters=True).exec_driver_sql(sql)


def _two(guard: Guard) -> tuple[int, int]:
    for tool in ("bad", "good"):
        guard.deploy(1, tool=tool)
        guard.calls(20, 0, start=NOW - HOUR, tool=tool)
        guard.calls(20, 0, start=NOW, tool=tool)
    return guard.watch(tool="bad"), guard.watch(tool="good")


GARBAGE = {
    "baseline": ["no JSON", "[]", "{}", '{"total": "x"}', "[" * 100_000],
    "baseline_notes": ["no JSON", '{"a": 1}', "7"],
    "left_out": ["[]", '{"as_of": "soon"}'],
    "earlier_versions": ["7", '{"count": 1, "best": [["version 1", 100, 101]]}'],
}


@pytest.mark.parametrize(("column", "text"), [(column, text) for column, some in GARBAGE.items() for text in some])
def test_garbage_in_a_session_stops_no_other(guard: Guard, column: str, text: str) -> None:
    """Whatever another program writes into a session's JSON, all others are checked; only notes may be unreadable."""
    bad, _good_session = _two(guard)
    _write(guard, f"UPDATE deployment_monitoring SET {column} = '{text}' WHERE session_id = {bad}")
    cycle = asyncio.run(AutonomousLoop(guard.monitor).check_deployment_health(now=NOW + HOUR))
    failed = int(column != "baseline_notes")
    assert (cycle["checks"], cycle["errors"]) == (2 - failed, failed)
    if failed:
        (check,) = guard.store.sessions.checks(bad)
        assert f"{column}: " in check["reasons"][0]
    _write(guard, f"UPDATE deployment_monitoring SET {column} = NULL WHERE session_id = {bad}")
    assert guard.monitor.check_health("bad", bad, now=NOW + HOUR)["verdict"] == "healthy"


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    ["tool_name = x'ff'", "deployment_time = 'soon'", "monitoring_started_at = x'00'", "watched_until = 'never'"],
)
def test_a_session_that_cannot_be_read_stops_no_other(
    guard: Guard, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A row without a name or a time is left out and logged, and the other sessions are checked."""
    bad, _good_session = _two(guard)
    _untyped(guard)
    _write(guard, f"UPDATE deployment_monitoring SET {change} WHERE session_id = {bad}")
    with caplog.at_level(logging.WARNING):
        cycle = asyncio.run(AutonomousLoop(guard.monitor).check_deployment_health(now=NOW + HOUR))
    if change.startswith("watched_until"):
        assert cycle["checks"] == 2
        return
    assert (cycle["checks"], cycle["errors"]) == (1, 0)
    assert f"session {bad} cannot be read" in caplog.text
    with pytest.raises(StoreError, match="correct or delete its row"):
        guard.monitor.get_session(bad)


def test_an_event_that_is_none_stops_no_other(guard: Guard) -> None:
    """Garbage among the notifications stays there with its error, and every other event is delivered."""
    session_id = regressed(guard)
    at = f"'{NOW:%Y-%m-%d %H:%M:%S}'"
    for event in ("'no JSON'", "'{}'", "'[]'"):
        _write(guard, f"INSERT INTO notifications (event, delivered_to, next_attempt_at) VALUES ({event}, '7', {at})")
    told = Told()
    guard.monitor.dispatcher._notifiers = {"test": told}
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert told.kinds == ["rolled_back"]
    count, why = guard.store.outbox.failing()
    assert count == 3
    assert "is none that Rollguard wrote" in (why or "")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_rows_of_every_wrong_type_stop_no_rollback(guard: Guard) -> None:
    """Executions from before types were held, with bytes or garbage anywhere, are counted or left out."""
    session_id = regressed(guard)
    _untyped(guard)
    good = {"tool_name": "'my_tool'", "success": "FALSE", "executed_at": f"'{NOW + HOUR:%Y-%m-%d %H:%M:%S.000000}'"}
    odd = {
        **dict.fromkeys(("error", "error_type", "parameters", "result", "request_id", "execution_id"), "x'ff00'"),
        **{"version_number": "'two'", "duration_ms": "'slow'", "tool_name": "x'ff'", "executed_at": "'soon'"},
    }
    for name, value in odd.items():
        row = {**good, name: value}
        _write(guard, f"INSERT INTO tool_executions ({', '.join(row)}) VALUES ({', '.join(row.values())})")
    text = {**good, "error": "CAST(x'ff41' AS TEXT)", "error_type": "CAST(x'ff41' AS TEXT)"}
    _write(guard, f"INSERT INTO tool_executions ({', '.join(text)}) VALUES ({', '.join(text.values())})")
    guard.store.fold()
    counted: Window = guard.store.executions.count([[Selection("my_tool", NOW, NOW + 2 * HOUR)]])[0]
    assert counted.total == 20 + len(odd) - 2 + 1
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)["rollback_performed"]
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert rollback.investigation is not None
    assert rollback.investigation["incomplete"] is None
    verify_all(guard.store, LATER + HOUR)
