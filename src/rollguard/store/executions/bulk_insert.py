"""Write many executions at once, each `execution_id` once, in the fastest way of each driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.execution import AT, FIELDS, ID, Columns
from rollguard.store.database.driver import driver
from rollguard.store.database.types import sqlite_texts
from rollguard.store.executions.ids import Placed, is_ours, microseconds_of
from rollguard.store.rollups.aggregate import Aggregate
from rollguard.store.rollups.refresh import REFRESH_THRESHOLD, add_deltas, last_id, refresh, refresh_counted
from rollguard.store.schema import tool_executions

_NAMES = ", ".join(FIELDS)
_POSTGRESQL = {str: "text", int: "int4", bool: "bool", float: "float8", datetime: "timestamptz"}
_TYPES = {name: _POSTGRESQL[tool_executions.c[name].type.python_type] for name in FIELDS}
_COUNTED = tuple(
    map(FIELDS.index, ("tool_name", "version_number", "success", "duration_ms", "error_type", "request_id", "score"))
)
_PAYLOADS = FIELDS.index("parameters"), FIELDS.index("result")

_BATCH = 10_000  # rows in one COPY; they stay in memory, in case COPY fails
_BATCH_SIZE = 16 * 2**20  # about so many characters in them


def write_once(connection: Connection, parts: Iterator[Columns]) -> int:
    """Insert complete executions whose `execution_id` is not stored yet, in the caller's transaction; count them.

    Args:
        parts: the executions, some hundreds at a time.

    Returns:
        Number of inserted rows.
    """
    if connection.dialect.name == "sqlite":
        return sum(_write_sqlite(connection, batch) for batch in _batches(parts))
    return _Copying(connection).write(parts)


# --- SQLite ----------------------------------------------------------------------------------------------------------

# SQLite keeps a journal for each statement on a table with a trigger, so one statement writes many rows. Other threads
# may run during a statement, so the wait for them happens once, not for every row.


@lru_cache(maxsize=256)
def _insert(rows: int, names: tuple[str, ...] = FIELDS) -> str:
    values = ", ".join([f"({', '.join('?' * len(names))})"] * rows)
    return f"INSERT INTO tool_executions ({', '.join(names)}) VALUES {values} ON CONFLICT (execution_id) DO NOTHING"


def _write_sqlite(connection: Connection, batch: Iterator[Columns]) -> int:
    """Write some rows. Aggregate many rows: as counted here or, if an id repeats, from the table."""
    aggregate: Aggregate[str] = Aggregate()
    with driver(connection, _insert(1)) as sqlite:
        last, before = last_id(sqlite), sqlite.total_changes
        for part in batch:
            moments = sqlite_texts(microseconds_of(part[AT]))
            aggregate.add(_counted([moment[:16] for moment in moments], part))
            names, columns = _filled((*part[:AT], moments, *part[AT + 1 :]))
            values = list(chain.from_iterable(zip(*columns, strict=True)))
            sqlite.execute(_insert(len(moments), names), values)
        new: int = sqlite.total_changes - before
        if new >= REFRESH_THRESHOLD:
            if new == len(aggregate):
                refresh_counted(sqlite, aggregate, last)
            else:
                refresh(connection)
    return new


def _filled(part: Columns) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    """Return the names and values of the columns that are not empty: what is not bound costs nothing, and is NULL."""
    nothing = [None] * len(part[ID])
    filled = [
        (name, column)
        for name, column in zip(FIELDS, part, strict=True)
        if column[0] is not None or list(column) != nothing
    ]
    names, columns = zip(*filled, strict=True)
    return names, list(columns)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

# For other INSERTs and COPYs, one trigger keeps each id once and another one counts the rows, row by row. Here, many
# rows go without these triggers, which is faster. For one row, the triggers are faster than switching them off.
_ONE = sa.text(
    f"INSERT INTO tool_executions ({_NAMES}) VALUES ({', '.join(f':{name}' for name in _TYPES)}) ON CONFLICT DO NOTHING"
)
_WHO = sa.text("SELECT set_config('rollguard.keyed', 'on', true), set_config('rollguard.noted', :noted, true)")
_COPY = f"COPY tool_executions ({_NAMES}) FROM STDIN (FORMAT BINARY)"
_COPY_KEYS = "COPY execution_keys (execution_id, executed_at) FROM STDIN (FORMAT BINARY)"

# In binary a time is microseconds since 2000, which psycopg computes in Python, too; here they give the minute as well.
_COPIED = _TYPES | {"executed_at": "int8"}
_KEY_TYPES = (_COPIED["execution_id"], _COPIED["executed_at"])
_ZERO, _MINUTE = 946_684_800_000_000, 60_000_000  # 2000, in microseconds since 1970

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

    def write(self, parts: Iterator[Columns]) -> int:
        first = list(islice(parts, 2))
        if len(first) == 1 and len(first[0][ID]) == 1:
            (row,) = zip(*first[0], strict=True)
            return self._connection.execute(_ONE, dict(zip(FIELDS, row, strict=True))).rowcount
        return sum(map(self._write_batch, _batches(chain(first, parts))))

    def _write_batch(self, batch: Iterator[Columns]) -> int:
        if self._repeating:
            return self._insert(list(batch))
        taken: list[Columns] = []
        try:
            with self._connection.begin_nested():
                self._copy(batch, taken)
        except sa.exc.IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != "23505":  # unique_violation
                raise
            self._repeating = True
            return self._insert([*taken, *batch])
        return sum(len(part[ID]) for part in taken)

    def _copy(self, batch: Iterator[Columns], taken: list[Columns]) -> None:
        """Send a batch and add its counts; append the parts taken from it to `taken`."""
        aggregate: Aggregate[int] = Aggregate()
        keys: list[tuple[str, int]] = []
        self._connection.execute(_WHO, {"noted": "on"})
        with driver(self._connection, _COPY) as psycopg, psycopg.cursor() as cursor:
            with cursor.copy(_COPY) as sink:
                sink.set_types(tuple(_COPIED.values()))
                for part in batch:
                    taken.append(part)
                    microseconds = microseconds_of(part[AT])
                    moments = [each - _ZERO for each in microseconds]
                    for row in _rows(part, moments):
                        sink.write_row(row)
                    aggregate.add(_counted([each // _MINUTE for each in microseconds], part))
                    if not isinstance(part[AT], Placed):
                        keys += [key for key in zip(part[ID], moments, strict=True) if not is_ours(key[0])]
            if keys:
                keys.sort()
                with cursor.copy(_COPY_KEYS) as sink:
                    sink.set_types(_KEY_TYPES)
                    for key in keys:
                        sink.write_row(key)
        add_deltas(self._connection, aggregate)

    def _insert(self, batch: list[Columns]) -> int:
        first: dict[str, tuple[Any, ...]] = {}
        rows = [row for part in batch for row in zip(*part, strict=True)]
        for row in rows:
            first.setdefault(row[ID], row)
        values = dict(zip(FIELDS, map(list, zip(*first.values(), strict=True)), strict=True))
        values["keyed"] = [not is_ours(execution_id) for execution_id in first]
        self._connection.execute(_WHO, {"noted": "off"})  # only the database knows which of them are new
        inserted = self._connection.execute(_ONCE, values).rowcount
        self._repeating = inserted < len(rows)
        return inserted


def _batches(parts: Iterator[Columns]) -> Iterator[Iterator[Columns]]:
    """Yield the parts in groups, as many as one COPY takes; each group must be used up before the next one."""
    for part in parts:
        yield _batch(chain((part,), parts))


def _batch(parts: Iterator[Columns]) -> Iterator[Columns]:
    rows = size = 0
    for part in parts:
        yield part
        rows += len(part[ID])
        size += sum(sum(map(len, filter(None, part[place]))) for place in _PAYLOADS)
        if rows >= _BATCH or size >= _BATCH_SIZE:
            return


def _rows(part: Columns, moments: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a part, with these as their times."""
    return zip(*part[:AT], moments, *part[AT + 1 :], strict=True)


def _counted(minutes: Sequence[Any], part: Columns) -> Iterator[tuple[Any, ...]]:
    """Return what `Aggregate.add` takes of a part."""
    return zip(minutes, *[part[place] for place in _COUNTED], strict=True)
