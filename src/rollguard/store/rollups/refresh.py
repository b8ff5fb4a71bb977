"""Refresh the rollups: add what was counted since the last refresh.

On PostgreSQL a trigger, or the writer itself, counts what arrives into `tool_execution_deltas`. Its rows are only
added, so writers never wait for each other; a refresh adds them up. On SQLite a refresh counts the rows after the last
id that is aggregated, unless their writer has just counted them.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.store.database.driver import driver
from rollguard.store.database.histograms import histogram_text
from rollguard.store.database.statements import statements
from rollguard.store.rollups.aggregate import Aggregate, Counted

REFRESH_THRESHOLD = 500  # rows that are not aggregated; fewer are as quickly read raw
_CHUNK = 10_000  # rows that are counted before they are added to the rollups

_POSTGRESQL = {name: sa.text(sql) for name, sql in statements("rollguard.store.rollups", "postgresql").items()}
_SQLITE = statements("rollguard.store.rollups", "sqlite")

NOT_AGGREGATED = {"sqlite": sa.text(_SQLITE["not_aggregated"]), "postgresql": _POSTGRESQL["not_aggregated"]}
"""(rows that a refresh would add up, whether requests arrived), given a `threshold` up to which it counts."""

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('rollguard:fold', 0))")


def refresh(connection: Connection, dialect: str) -> None:
    """Add everything that is not aggregated yet to the rollups, in the caller's write transaction."""
    if dialect == "sqlite":
        with driver(connection, _SQLITE["new_rows"]) as sqlite:
            _refresh_to(sqlite, last_id(sqlite))
        return
    connection.execute(_LOCK)
    for name in ("refresh", "supersede"):
        connection.execute(_POSTGRESQL[name])


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def add_deltas(connection: Connection, aggregate: Aggregate[int]) -> None:
    """Store what a writer on PostgreSQL has counted itself, as the trigger does for other writers.

    Args:
        aggregate: its minutes are numbers of minutes since 1970.
    """
    counted = list(aggregate.counted())
    values: dict[str, list[Any]] = {name: [getattr(each, name) for each in counted] for name in Counted._fields}
    values["histogram"] = [histogram_text(each.histogram, "postgresql") for each in counted]
    values["tools"] = [tool for tool, _request in aggregate.requests]
    values["requests"] = [request for _tool, request in aggregate.requests]
    connection.execute(_POSTGRESQL["add_deltas"], values)


# --- SQLite ----------------------------------------------------------------------------------------------------------


def refresh_counted(sqlite: sqlite3.Connection, aggregate: Aggregate[str], before: int) -> None:
    """Add what a writer on SQLite has counted itself to the rollups: every row after the id `before`.

    Args:
        aggregate: its minutes are times as SQLite stores them, cut off after the minute.
    """
    _refresh_to(sqlite, before)
    _add(sqlite, aggregate)
    last = last_id(sqlite)
    if aggregate.requests:
        sqlite.execute(_SQLITE["supersede"], {"first": before, "last": last})
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
        for row in chunk:
            aggregate.add(*row)
        _add(sqlite, aggregate)
        requests = requests or bool(aggregate.requests)
    if requests:
        sqlite.execute(_SQLITE["supersede"], {"first": first, "last": last})
    sqlite.execute("UPDATE rollup_state SET rolled_to = ?", (last,))


def _add(sqlite: sqlite3.Connection, aggregate: Aggregate[str]) -> None:
    """Add counts to the rollups of minutes and of hours."""
    minutes = list(aggregate.counted())
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
        )
    return list(hours.values())
