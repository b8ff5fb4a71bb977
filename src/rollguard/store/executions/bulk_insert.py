"""Write many executions at once, each `execution_id` once, in the fastest way of each driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.execution import AT, FIELDS, ID
from rollguard.store.database.driver import driver
from rollguard.store.database.types import sqlite_text
from rollguard.store.executions.ids import is_ours
from rollguard.store.rollups.aggregate import Aggregate
from rollguard.store.rollups.refresh import REFRESH_THRESHOLD, add_deltas, last_id, refresh, refresh_counted
from rollguard.store.schema import tool_executions

Row = tuple[Any, ...]  # a complete `Execution`; the drivers need no field names

_NAMES = ", ".join(FIELDS)
_POSTGRESQL = {str: "text", int: "int4", bool: "bool", float: "float8", datetime: "timestamptz"}
_TYPES = {name: _POSTGRESQL[tool_executions.c[name].type.python_type] for name in FIELDS}
_counted = itemgetter(
    *map(FIELDS.index, ("tool_name", "version_number", "success", "duration_ms", "error_type", "request_id"))
)
_PARAMETERS, _RESULT = FIELDS.index("parameters"), FIELDS.index("result")
_AT_FROM_END = AT - len(FIELDS)

_BATCH = 10_000  # rows in one COPY; they stay in memory, in case COPY fails
_BATCH_SIZE = 16 * 2**20  # about so many characters in them


def write_once(connection: Connection, rows: Iterable[Row]) -> int:
    """Insert checked rows whose `execution_id` is not stored yet, in the caller's transaction, and count them.

    Returns:
        Number of inserted rows.
    """
    if connection.dialect.name == "sqlite":
        return _write_sqlite(connection, iter(rows))
    return _Copying(connection).write(iter(rows))


# --- SQLite ----------------------------------------------------------------------------------------------------------

# SQLite keeps a journal for each statement on a table with a trigger, so one statement writes many rows. Other threads
# may run during a statement, so the wait for them happens once, not for every row.
_ROWS = 200


@lru_cache(maxsize=_ROWS)
def _insert(rows: int) -> str:
    values = ", ".join([f"({', '.join('?' * len(_TYPES))})"] * rows)
    return f"INSERT INTO tool_executions ({_NAMES}) VALUES {values} ON CONFLICT (execution_id) DO NOTHING"


def _write_sqlite(connection: Connection, rows: Iterator[Row]) -> int:
    return sum(_write_sqlite_batch(connection, _batch(chain((row,), rows))) for row in rows)


def _write_sqlite_batch(connection: Connection, batch: Iterator[Row]) -> int:
    """Write some rows. Aggregate many rows: as counted here or, if an id repeats, from the table."""
    aggregate: Aggregate[str] = Aggregate()
    with driver(connection, _insert(1)) as sqlite:
        last, before = last_id(sqlite), sqlite.total_changes
        while rows := list(islice(batch, _ROWS)):
            values: list[Any] = []
            for row in rows:
                values += row
                values[_AT_FROM_END] = moment = sqlite_text(row[AT])
                aggregate.add(moment[:16], *_counted(row))
            sqlite.execute(_insert(len(rows)), values)
        new: int = sqlite.total_changes - before
        if new >= REFRESH_THRESHOLD:
            if new == len(aggregate):
                refresh_counted(sqlite, aggregate, last)
            else:
                refresh(connection)
    return new


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

# For other INSERTs and COPYs, one trigger keeps each id once and another one counts the rows, row by row. Here, many
# rows go without these triggers, which is faster. For one row, the triggers are faster than switching them off.
_ONE = sa.text(
    f"INSERT INTO tool_executions ({_NAMES}) VALUES ({', '.join(f':{name}' for name in _TYPES)}) ON CONFLICT DO NOTHING"
)
_WHO = sa.text("SELECT set_config('rollguard.keyed', 'on', true), set_config('rollguard.noted', :noted, true)")
_COPY = f"COPY tool_executions ({_NAMES}) FROM STDIN (FORMAT BINARY)"
_COPY_KEYS = "COPY execution_keys (execution_id, executed_at) FROM STDIN (FORMAT BINARY)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_KEY_TYPES = (_TYPES["execution_id"], _TYPES["executed_at"])

# For batches with ids that are stored already. The callers' ids are inserted first: of two writers of the same id, the
# second waits and finds it stored. They are inserted in their order, so that writers of the same ids do not deadlock.
_ONCE = sa.text(f"""
WITH given AS (
    SELECT * FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _TYPES.items())},
                         CAST(:keyed AS bool[])) WITH ORDINALITY AS g({_NAMES}, keyed, place)
),
fresh AS (
    INSERT INTO execution_keys (execution_id, executed_at)
    SELECT execution_id, executed_at FROM given WHERE keyed ORDER BY execution_id
    ON CONFLICT DO NOTHING RETURNING execution_id
)
INSERT INTO tool_executions ({_NAMES})
SELECT {_NAMES} FROM given WHERE NOT keyed OR execution_id IN (SELECT execution_id FROM fresh) ORDER BY place
ON CONFLICT DO NOTHING""")


class _Copying:
    """Writes by COPY. A batch with an id that is stored already is undone and inserted without that id.

    Executions are sent while they are still prepared, so that the server works in parallel.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._repeating = False  # if one batch repeats ids, the next one probably does too

    def write(self, rows: Iterator[Row]) -> int:
        first = list(islice(rows, 2))
        if len(first) < 2:
            return self._connection.execute(_ONE, dict(zip(FIELDS, first[0], strict=True))).rowcount if first else 0
        new = 0
        rows = chain(first, rows)
        for row in rows:
            new += self._write_batch(_batch(chain((row,), rows)))
        return new

    def _write_batch(self, batch: Iterator[Row]) -> int:
        if self._repeating:
            return self._insert(list(batch))
        taken: list[Row] = []
        try:
            with self._connection.begin_nested():
                self._copy(batch, taken)
        except sa.exc.IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != "23505":  # unique_violation
                raise
            self._repeating = True
            return self._insert([*taken, *batch])
        return len(taken)

    def _copy(self, batch: Iterator[Row], taken: list[Row]) -> None:
        """Send a batch and add its counts; append the rows taken from it to `taken`."""
        aggregate: Aggregate[int] = Aggregate()
        self._connection.execute(_WHO, {"noted": "on"})
        with driver(self._connection, _COPY) as psycopg, psycopg.cursor() as cursor:
            with cursor.copy(_COPY) as sink:
                sink.set_types(tuple(_TYPES.values()))
                for row in batch:
                    taken.append(row)
                    sink.write_row(row)
                    aggregate.add((row[AT] - _EPOCH) // _MINUTE, *_counted(row))
            keys = sorted((row[ID], row[AT]) for row in taken if not is_ours(row[ID]))
            if keys:
                with cursor.copy(_COPY_KEYS) as sink:
                    sink.set_types(_KEY_TYPES)
                    for key in keys:
                        sink.write_row(key)
        add_deltas(self._connection, aggregate)

    def _insert(self, batch: list[Row]) -> int:
        first: dict[str, Row] = {}
        for row in batch:
            first.setdefault(row[ID], row)
        values = dict(zip(FIELDS, map(list, zip(*first.values(), strict=True)), strict=True))
        values["keyed"] = [not is_ours(execution_id) for execution_id in first]
        self._connection.execute(_WHO, {"noted": "off"})  # only the database knows which of them are new
        inserted = self._connection.execute(_ONCE, values).rowcount
        self._repeating = inserted < len(batch)
        return inserted


def _batch(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the next rows, as many as one statement or COPY takes."""
    room = _BATCH_SIZE
    for row in islice(rows, _BATCH):
        yield row
        if row[_PARAMETERS] is not None:
            room -= len(row[_PARAMETERS])
        if row[_RESULT] is not None:
            room -= len(row[_RESULT])
        if room <= 0:
            return
