"""Many executions at once, each `execution_id` once, by the fastest way that each driver has."""

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

Row = tuple[Any, ...]  # a complete `Execution`, whose fields the drivers need not know by name

_NAMES = ", ".join(FIELDS)
_POSTGRESQL = {str: "text", int: "int4", bool: "bool", float: "float8", datetime: "timestamptz"}
_TYPES = {name: _POSTGRESQL[tool_executions.c[name].type.python_type] for name in FIELDS}
_counted = itemgetter(
    *map(FIELDS.index, ("tool_name", "version_number", "success", "duration_ms", "error_type", "request_id"))
)
_PARAMETERS, _RESULT = FIELDS.index("parameters"), FIELDS.index("result")
_AT_FROM_END = AT - len(FIELDS)

_BATCH = 10_000  # rows that are sent by one COPY, and kept meanwhile, in case it has to be done another way
_BATCH_SIZE = 16 * 2**20  # characters of them, roughly


def write_once(connection: Connection, rows: Iterable[Row]) -> int:
    """Insert checked rows whose `execution_id` is not stored yet, in the caller's transaction, and count them.

    Returns:
        How many were inserted.
    """
    if connection.dialect.name == "sqlite":
        return _write_sqlite(connection, iter(rows))
    return _Copying(connection).write(iter(rows))


# --- SQLite ----------------------------------------------------------------------------------------------------------

# SQLite keeps a journal of its own for each statement on a table with a trigger, so many rows go in one statement. It
# also lets other threads run meanwhile, and then waits for them: once, and not for every row.
_ROWS = 200


@lru_cache(maxsize=_ROWS)
def _insert(rows: int) -> str:
    values = ", ".join([f"({', '.join('?' * len(_TYPES))})"] * rows)
    return f"INSERT INTO tool_executions ({_NAMES}) VALUES {values} ON CONFLICT (execution_id) DO NOTHING"


def _write_sqlite(connection: Connection, rows: Iterator[Row]) -> int:
    return sum(_write_sqlite_batch(connection, _batch(chain((row,), rows))) for row in rows)


def _write_sqlite_batch(connection: Connection, batch: Iterator[Row]) -> int:
    """Write some rows and, if they are many, aggregate them: as counted here, or from the rows if an id repeats."""
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
                refresh(connection, "sqlite")
    return new


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

# For any other INSERT or COPY a trigger holds each id once, row by row, and another one notes what was inserted. For
# many rows that takes longer, so here they need not; for one it takes less time than asking for that does.
_ONE = sa.text(
    f"INSERT INTO tool_executions ({_NAMES}) VALUES ({', '.join(f':{name}' for name in _TYPES)}) ON CONFLICT DO NOTHING"
)
_WHO = sa.text("SELECT set_config('rollguard.keyed', 'on', true), set_config('rollguard.noted', :noted, true)")
_COPY = f"COPY tool_executions ({_NAMES}) FROM STDIN (FORMAT BINARY)"
_COPY_KEYS = "COPY execution_keys (execution_id, executed_at) FROM STDIN (FORMAT BINARY)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_KEY_TYPES = (_TYPES["execution_id"], _TYPES["executed_at"])

# Where an id is stored already. The callers' ids go first and are waited for: of two who write the same one at once,
# the second finds it stored. They go in their own order, so that two who write the same ids never wait for each other.
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
    """Writes by COPY; a batch in which an id is stored already is undone and written by a statement that leaves it out.

    Executions are sent while they are being made, so that the server works beside us.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._repeating = False  # where one batch repeats ids, the next one probably does as well

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
        """Send a batch, and note what is in it; what was taken of it is put into `taken`."""
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
        self._connection.execute(_WHO, {"noted": "off"})  # which of them are new is known to the database
        inserted = self._connection.execute(_ONCE, values).rowcount
        self._repeating = inserted < len(batch)
        return inserted


def _batch(rows: Iterator[Row]) -> Iterator[Row]:
    """The next rows, as many as are sent at once."""
    room = _BATCH_SIZE
    for row in islice(rows, _BATCH):
        yield row
        if row[_PARAMETERS] is not None:
            room -= len(row[_PARAMETERS])
        if row[_RESULT] is not None:
            room -= len(row[_RESULT])
        if room <= 0:
            return
