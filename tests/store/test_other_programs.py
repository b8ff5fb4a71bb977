"""What other programs do to the table of executions, and what that may not do to the counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.errors import StoreConflict
from rollguard.judge import Window
from rollguard.store.database.engine import Database
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW
from tests.store.old_store import make_old_store

HOUR = timedelta(hours=1)


def _counted(store: ExecutionStore, tool: str = "t") -> Window:
    return store.executions.count([[Selection(tool, NOW - HOUR, NOW + HOUR)]])[0]


def _run(store: ExecutionStore, sql: str) -> None:
    """Another program's statement: no function of ours is at hand, and nothing is checked in Python."""
    path = store.database.path
    if path is None:
        with store.database.write() as connection:
            connection.execute(sa.text(sql))
        return
    file = sqlite3.connect(path)
    try:
        with file:
            file.execute(sql)
    finally:
        file.close()


def _insert(store: ExecutionStore, **columns: str) -> None:
    columns = {"tool_name": "'t'", "success": "TRUE", "executed_at": f"'{NOW:%Y-%m-%d %H:%M:%S}'", **columns}
    _run(store, f"INSERT INTO tool_executions ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")


IMPOSSIBLE = {
    "sqlite": [
        *(("duration_ms", value) for value in ("'abc'", "''", "'NaN'", "9e999", "-1", "1e16", "x'00'")),
        *[("success", "2"), ("success", "'yes'"), ("version_number", "'one'"), ("executed_at", "'yesterday'")],
        ("id", str(2**63 - 1)),
    ],
    "postgresql": [("duration_ms", value) for value in ("'NaN'", "'Infinity'", "-1", "1e16")],
}


def test_impossible_rows_are_refused(store: ExecutionStore) -> None:
    """A row that could not be counted is refused by the database itself, and what is good is counted on."""
    for column, value in IMPOSSIBLE[store.database.dialect]:
        with pytest.raises((StoreConflict, sqlite3.IntegrityError)):
            _insert(store, **{column: value})
    _insert(store, duration_ms="2.5")
    store.fold()
    assert _counted(store) == Window(1, 1, 1, 2.5, _counted(store).histogram)


def test_the_longest_durations(store: ExecutionStore) -> None:
    """Sums of the longest durations that are taken are numbers, whoever counts them."""
    store.store_tool_executions(
        {"tool_name": "t", "success": True, "duration_ms": 1e15, "executed_at": NOW} for _ in range(600)
    )
    _insert(store, duration_ms="1e15")
    store.fold()
    assert (_counted(store).timed, _counted(store).duration_sum_ms) == (601, 6.01e17)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_text_from_before(new_url: Callable[[], str]) -> None:
    """A duration that is text, from before it was refused, counts as none and stops nothing."""
    url = new_url()
    make_old_store(url, "DROP TRIGGER tool_executions_checked")
    old = Database(url)
    with old.write() as connection:
        for duration in ("'abc'", "5.0"):
            connection.exec_driver_sql(
                "INSERT INTO tool_executions (tool_name, success, duration_ms, executed_at) "
                f"VALUES ('t', TRUE, {duration}, '2026-03-01 12:00:30.000000')"
            )
    old.close()
    with ExecutionStore(url) as store:
        before = store.executions.count([[Selection("t", NOW + timedelta(seconds=1), NOW + HOUR)]])[0]
        store.fold()
        for counted in (before, _counted(store)):
            assert (counted.total, counted.timed, counted.duration_sum_ms) == (2, 1, 5.0)


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_what_comes_after_a_deletion_is_counted(store: ExecutionStore, order: str) -> None:
    """When another program deletes the latest rows, what comes after them is counted like everything else."""
    store.store_tool_executions({"tool_name": "other", "success": True, "executed_at": NOW} for _ in range(600))
    _run(
        store,
        "DELETE FROM tool_executions WHERE id IN (SELECT id FROM tool_executions WHERE tool_name = 'other' "
        f"ORDER BY id {order} LIMIT 1000)",
    )
    for _ in range(20):
        _insert(store)
    assert _counted(store).total == 20
    store.fold()
    assert _counted(store).total == 20


def test_an_id_that_counting_has_passed(store: ExecutionStore) -> None:
    """A row with an id of its own is counted, or refused where its id was passed already: on SQLite."""
    _insert(store, id="5000")
    store.fold()
    if store.database.dialect == "sqlite":
        with pytest.raises(sqlite3.IntegrityError, match="id must be left out"):
            _insert(store, id="4000")
    else:
        _insert(store, id="4000")
    _insert(store)
    total = 2 if store.database.dialect == "sqlite" else 3
    assert _counted(store).total == total


def test_a_program_replaces_a_row(tmp_path: Path) -> None:
    """INSERT OR REPLACE of a stored `execution_id` counts the new row; the one that it replaced stays counted."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        _insert(store, execution_id="'one'")
        store.fold()
        _run(
            store,
            "INSERT OR REPLACE INTO tool_executions (tool_name, success, execution_id, executed_at) "
            "VALUES ('t', FALSE, 'one', '2026-03-01 12:00:00')",
        )
        assert (_counted(store).total, _counted(store).successes) == (2, 1)
