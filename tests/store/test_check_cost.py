"""A check costs the same at any history: what a database does for it is counted, not timed."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW, Guard

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DEPLOYED = NOW + timedelta(minutes=41, seconds=17)  # inside a minute, as times are


class Work:
    """Counts what a database does while statements run: SQLite's steps; rows that PostgreSQL reads."""

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._steps = 0
        self._asked: list[tuple[str, Any]] = []

    def of(self, check: Any) -> int:
        """What one call costs."""
        engine = self._store.database._engine
        self._steps, self._asked = 0, []
        listening = (engine, "checkout", self._watch) if self._sqlite else (engine, "before_cursor_execute", self._note)
        self._store.close()  # so that connections are made anew, and watched
        sa.event.listen(*listening)
        check()
        sa.event.remove(*listening)
        self._store.close()
        return self._steps if self._sqlite else sum(map(self._rows, self._asked))

    @property
    def _sqlite(self) -> bool:
        return self._store.database.dialect == "sqlite"

    def _watch(self, connection: Any, *_rest: Any) -> None:
        connection.set_progress_handler(self._step, 1)

    def _step(self) -> None:
        self._steps += 1

    def _note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.split(maxsplit=1)[0] in ("SELECT", "WITH"):
            self._asked.append((statement, parameters))

    def _rows(self, asked: tuple[str, Any]) -> int:
        with self._store.database.read() as connection:
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked[0]}", asked[1])
            return _rows_of(explained.scalar_one()[0]["Plan"])


def _rows_of(node: dict[str, Any]) -> int:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    scanned = (node["Actual Rows"] + removed) * node["Actual Loops"] if "Scan" in node["Node Type"] else 0
    return round(scanned) + sum(map(_rows_of, node.get("Plans", ())))


def _record(store: ExecutionStore, count: int, start: datetime, end: datetime, version: int | None) -> None:
    """Calls spread evenly."""
    moments = (start + i * (end - start) / count for i in range(count))
    store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": i % 20 != 0,
            "duration_ms": 10.0 + i % 3,
            "executed_at": moment,
            "version_number": version and version + (moment >= DEPLOYED),
        }
        for i, moment in enumerate(moments)
    )
    store.fold()
    if store.database.dialect == "postgresql":
        with store.database.write() as connection:
            connection.execute(sa.text("ANALYZE"))


@pytest.mark.parametrize("version", [None, 1])
def test_a_check_costs_the_same_however_much_a_tool_is_called(guard: Guard, version: int | None) -> None:
    """With many more calls, in the first minute too, a check reads no more, whether they name their version or not."""
    guard.deploy(1, at=DEPLOYED - DAY)
    guard.deploy(2, at=DEPLOYED)
    session_id = guard.watch(at=DEPLOYED)
    check = partial(guard.monitor.check_health, "my_tool", session_id, now=DEPLOYED + 3 * HOUR)
    costs, seen = [], []
    _record(guard.store, 2_000, DEPLOYED - HOUR / 2, DEPLOYED, version)
    for count, during in ((2_000, 3 * HOUR), (4_000, 3 * HOUR), (2_000, MINUTE / 2)):
        _record(guard.store, count, DEPLOYED, DEPLOYED + during, version)
        check()  # keeps the baseline
        seen.append(check()["current"]["total_executions"])
        costs.append(Work(guard.store).of(check))
    assert seen == [2_000, 6_000, 8_000]
    assert max(costs) <= costs[0] * 1.1


@pytest.mark.parametrize("start", [DEPLOYED, DEPLOYED.replace(second=0)])
@pytest.mark.parametrize("refreshing", [True, False])
def test_what_is_remembered_is_forgotten_when_something_arrives(
    store: ExecutionStore, start: datetime, refreshing: bool
) -> None:
    """Late, beside or within the first hour, aggregated or not, tried again or not: the count is that of the rows."""
    remembering = Rollups(store.database)
    window = [[Selection("t", start, start + 2 * HOUR, only=0, repeated=True)]]
    row = {"tool_name": "t", "success": True, "duration_ms": 1.0}
    store.store_tool_executions({**row, "executed_at": start + i * timedelta(seconds=10)} for i in range(100))
    store.fold()
    assert remembering.count(window)[0].total == 100
    total = 100
    beside = timedelta(seconds=1)
    for moment, adds in (
        (start - 10 * MINUTE, 0),
        (start - beside, 0),
        (start + beside, 1),
        (start + 5 * MINUTE, 1),
        (start + HOUR, 1),
        (start, 1),
    ):
        for request in (None, str(moment)):
            store.store_tool_execution(**row, executed_at=moment, request_id=request)
            total += adds
            assert remembering.count(window)[0].total == total
            if refreshing:
                store.fold()
            assert remembering.count(window) == Rollups(store.database).count(window)
            assert remembering.count(window)[0].total == total
        store.store_tool_execution(**row, executed_at=moment + beside / 2, request_id=str(moment))  # tried again
        assert remembering.count(window)[0].total == total
    store.fold()
    assert remembering.count(window) == Rollups(store.database).count(window)
    assert remembering.count(window)[0].total == total
