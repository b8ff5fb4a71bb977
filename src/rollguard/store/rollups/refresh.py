"""Refresh the rollups: add what was counted since the last refresh.

On PostgreSQL a trigger, or the writer itself, counts what arrives into `tool_execution_deltas`. Its rows are only
added, so writers never wait for each other; a refresh adds them up. On SQLite a refresh counts the rows after the last
id that is aggregated, unless their writer has just counted them.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.store.database.driver import driver
from rollguard.store.database.engine import Database
from rollguard.store.database.histograms import histogram_text
from rollguard.store.database.statements import statements
from rollguard.store.database.types import sqlite_text
from rollguard.store.rollups.aggregate import Aggregate, Counted, Minute

REFRESH_THRESHOLD = 500  # rows that are not aggregated; fewer are as quickly read raw
_CHUNK = 10_000  # rows that are counted before they are added to the rollups

_SQLITE, _POSTGRESQL = (statements("rollguard.store.rollups", dialect) for dialect in ("sqlite", "postgresql"))

NEWLY_SUPERSEDED = {
    "sqlite": f"superseding AS MATERIALIZED ({_SQLITE['newly_superseded']})",
    "postgresql": "arrivals AS (SELECT tool_name, request_id FROM request_arrivals), "
    f"superseding AS MATERIALIZED ({_POSTGRESQL['newly_superseded']})",
}
"""Common table expressions: what the next refresh will add to `superseded_executions`."""

_NOT_AGGREGATED = {
    "sqlite": sa.text(_SQLITE["not_aggregated"]),
    "postgresql": sa.text(_POSTGRESQL["not_aggregated"]),
}
_REFRESH, _ADD_DELTAS = sa.text(_POSTGRESQL["refresh"]), sa.text(_POSTGRESQL["add_deltas"])
_INTO = (
    "INSERT INTO superseded_executions "
    "(id, tool_name, version_number, success, duration_ms, error_type, executed_at, score)"
)
_SUPERSEDE_SQLITE = f"{_INTO} {_SQLITE['newly_superseded']}"
_SUPERSEDE_POSTGRESQL = sa.text(
    f"WITH arrivals AS (DELETE FROM request_arrivals RETURNING tool_name, request_id) "
    f"{_INTO} {_POSTGRESQL['newly_superseded']}"
)
_KEY = "hashtextextended('rollguard:fold', 0)"
_LOCK, _TRY_LOCK = (
    sa.text(f"SELECT pg_advisory_xact_lock({_KEY})"),
    sa.text(f"SELECT pg_try_advisory_xact_lock({_KEY})"),
)


def refresh_if_due(database: Database, threshold: int = REFRESH_THRESHOLD) -> None:
    """Refresh the rollups if so many rows are not aggregated yet that reading them costs more.

    Also if executions with a request id arrived: each count would find again which of them were tried again.

    Args:
        threshold: the number of rows from which on it refreshes.
    """
    with database.read() as connection:
        due = _is_due(connection, threshold)
    if due:
        with database.write(durable=False) as connection:
            refresh(connection)


def refresh_after_writing(connection: Connection) -> None:
    """Refresh the rollups at the end of a writer's transaction if it is due, unless another process is at it."""
    if _is_due(connection, REFRESH_THRESHOLD):
        refresh(connection, wait=False)


def _is_due(connection: Connection, threshold: int) -> bool:
    rows, requests = connection.execute(_NOT_AGGREGATED[connection.dialect.name], {"threshold": threshold}).one()
    return bool((rows or 0) >= threshold or requests)


def refresh(connection: Connection, *, wait: bool = True) -> None:
    """Add everything that is not aggregated yet to the rollups, in the caller's write transaction.

    Args:
        wait: False leaves it to another process that is refreshing them (PostgreSQL; SQLite has one writer anyway).
    """
    if connection.dialect.name == "sqlite":
        with driver(connection, _SQLITE["new_rows"]) as sqlite:
            _refresh_to(sqlite, last_id(sqlite))
    elif connection.scalar(_LOCK if wait else _TRY_LOCK) is not False:
        connection.execute(_REFRESH)
        connection.execute(_SUPERSEDE_POSTGRESQL)


# --- amendments ------------------------------------------------------------------------------------------------------

_AMEND_SUPERSEDED = sa.text(
    "UPDATE superseded_executions SET success = :success, error_type = :error_type, score = :score WHERE id = :id"
)


class Amended(NamedTuple):
    """What the rollups count of an execution that was amended, as it was or as it is."""

    tool_name: str
    version_number: int | None
    success: bool
    duration_ms: float | None
    error_type: str | None
    score: float | None


def hold_still(connection: Connection) -> None:
    """Have no other process refresh the rollups until this transaction ends: it would read a row before it changes."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)


def recount(connection: Connection, row_id: int, executed_at: datetime, before: Amended, after: Amended) -> None:
    """Count an execution anew that this transaction has changed. `hold_still` comes before the change."""
    if connection.dialect.name == "postgresql":
        minute = int(executed_at.timestamp() // 60)
        _add_deltas(connection, [*_counts_of(after, minute), *_taken_off(before, minute)])
    else:
        with driver(connection, _SQLITE["add_counts"]) as sqlite:
            if row_id <= _rolled_to(sqlite):
                text = sqlite_text(executed_at)[:16]
                _add(sqlite, [*_counts_of(after, text), *_taken_off(before, text)])
    values = {"success": after.success, "error_type": after.error_type, "score": after.score, "id": row_id}
    connection.execute(_AMEND_SUPERSEDED, values)


def _counts_of(one: Amended, minute: Minute) -> list[Counted[Minute]]:
    aggregate: Aggregate[Minute] = Aggregate()
    aggregate.add([(minute, *one[:-1], None, one.score)])
    return list(aggregate.counted())


def _taken_off(one: Amended, minute: Minute) -> list[Counted[Minute]]:
    return [counted.taken_off() for counted in _counts_of(one, minute)]


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def add_deltas(connection: Connection, aggregate: Aggregate[int]) -> None:
    """Store what a writer on PostgreSQL has counted itself, as the trigger does for other writers.

    Args:
        aggregate: its minutes are numbers of minutes since 1970.
    """
    _add_deltas(connection, list(aggregate.counted()), aggregate.requests)


def _add_deltas(
    connection: Connection, counted: Sequence[Counted[int]], requests: Collection[tuple[str, str]] = ()
) -> None:
    values: dict[str, list[Any]] = {name: [getattr(each, name) for each in counted] for name in Counted._fields}
    values["histogram"] = [histogram_text(each.histogram, "postgresql") for each in counted]
    values["tools"] = [tool for tool, _request in requests]
    values["requests"] = [request for _tool, request in requests]
    connection.execute(_ADD_DELTAS, values)


# --- SQLite ----------------------------------------------------------------------------------------------------------


def refresh_counted(sqlite: sqlite3.Connection, aggregate: Aggregate[str], before: int) -> None:
    """Add what a writer on SQLite has counted itself to the rollups: every row after the id `before`.

    Args:
        aggregate: its minutes are times as SQLite stores them, cut off after the minute.
    """
    _refresh_to(sqlite, before)
    _add(sqlite, list(aggregate.counted()))
    last = last_id(sqlite)
    if aggregate.requests:
        sqlite.execute(_SUPERSEDE_SQLITE)
    sqlite.execute("UPDATE rollup_state SET rolled_to = ?", (last,))


def last_id(sqlite: sqlite3.Connection) -> int:
    """Return the id of the last row, 0 if there is none."""
    return int(sqlite.execute("SELECT COALESCE(MAX(id), 0) FROM tool_executions").fetchone()[0])


def _rolled_to(sqlite: sqlite3.Connection) -> int:
    return int(sqlite.execute("SELECT rolled_to FROM rollup_state").fetchone()[0])


def _refresh_to(sqlite: sqlite3.Connection, last: int) -> None:
    """Aggregate the rows up to an id."""
    first = _rolled_to(sqlite)
    if last <= first:
        return
    requests = False
    rows = sqlite.execute(_SQLITE["new_rows"], {"first": first, "last": last})
    while chunk := rows.fetchmany(_CHUNK):
        aggregate: Aggregate[str] = Aggregate()
        aggregate.add(chunk)
        _add(sqlite, list(aggregate.counted()))
        requests = requests or bool(aggregate.requests)
    if requests:
        sqlite.execute(_SUPERSEDE_SQLITE)
    sqlite.execute("UPDATE rollup_state SET rolled_to = ?", (last,))


def _add(sqlite: sqlite3.Connection, minutes: Sequence[Counted[str]]) -> None:
    """Add counts to the rollups of minutes and of hours."""
    hours = _by_hour(minutes)
    for width, counted, rest in ((60, minutes, ":00.000000"), (3600, hours, ":00:00.000000")):
        sqlite.executemany(
            _SQLITE["add_counts"],
            (
                each._asdict()
                | {
                    "width": width,
                    "start_at": f"{each.minute}{rest}",
                    "histogram": histogram_text(each.histogram, "sqlite"),
                }
                for each in counted
            ),
        )
    starts = ({**hour._asdict(), "first_hour": f"{hour.minute}:00:00.000000"} for hour in hours)
    sqlite.executemany(_SQLITE["add_start"], starts)


def _by_hour(minutes: Iterable[Counted[str]]) -> list[Counted[str]]:
    """Return the same counts by hours, which are `minute`s cut off after the hour."""
    hours: dict[tuple[str, int, str, str], Counted[str]] = {}
    for counted in minutes:
        key = (counted.tool_name, counted.version_number, counted.minute[:13], counted.error_type)
        hour = hours.get(key) or Counted(*key, 0, 0, 0, 0.0, Counter())
        hour.histogram.update(counted.histogram)
        hours[key] = hour._replace(
            executions=hour.executions + counted.executions,
            successes=hour.successes + counted.successes,
            timed=hour.timed + counted.timed,
            duration_sum_ms=hour.duration_sum_ms + counted.duration_sum_ms,
            amended=hour.amended + counted.amended,
        )
    return list(hours.values())
