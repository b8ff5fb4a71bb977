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
from rollguard.store.database.histograms import HISTOGRAM_ROWS, histogram_text
from rollguard.store.rollups.aggregate import Aggregate, Counted

REFRESH_THRESHOLD = 500  # rows that are not aggregated; fewer are as quickly read raw
_CHUNK = 10_000  # rows that are counted before they are added to the rollups


def refresh(connection: Connection, dialect: str) -> None:
    """Add everything that is not aggregated yet to the rollups, in the caller's write transaction."""
    if dialect == "sqlite":
        with driver(connection, _COUNT) as sqlite:
            _refresh_to(sqlite, last_id(sqlite))
        return
    connection.execute(sa.text(_LOCK))
    for statement in (_REFRESH, _SUPERSEDE):
        connection.execute(sa.text(statement))


NOT_AGGREGATED = {
    "sqlite": """
SELECT (SELECT MAX(id) FROM tool_executions) - rolled_to,
       EXISTS (SELECT 1 FROM tool_executions x WHERE x.id > rolled_to AND +x.request_id IS NOT NULL)
FROM rollup_state""",
    "postgresql": f"""
SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM tool_execution_deltas LIMIT {REFRESH_THRESHOLD}) AS few),
       EXISTS (SELECT 1 FROM request_arrivals)""",
}

_KEY = "tool_name, width, start_at, version_number, error_type"
_COUNTS = "executions, successes, timed, duration_sum_ms, histogram"

_ADDED = f"""
ON CONFLICT ({_KEY}) DO UPDATE SET
    executions = tool_execution_rollups.executions + excluded.executions,
    successes = tool_execution_rollups.successes + excluded.successes,
    timed = tool_execution_rollups.timed + excluded.timed,
    duration_sum_ms = tool_execution_rollups.duration_sum_ms + excluded.duration_sum_ms,
    histogram = rollguard_merged(tool_execution_rollups.histogram, excluded.histogram)"""

_EARLIER = """
ON CONFLICT (tool_name, version_number) DO UPDATE SET first_hour = excluded.first_hour
WHERE excluded.first_hour < tool_version_starts.first_hour"""

# Of the executions of a request all but the last; {requests} are those that had new executions.
_SUPERSEDED = """
INSERT INTO superseded_executions (id, tool_name, version_number, success, duration_ms, error_type, executed_at)
SELECT x.id, x.tool_name, x.version_number, x.success, x.duration_ms, x.error_type, x.executed_at
FROM {requests} q JOIN tool_executions x ON x.tool_name = q.tool_name AND x.request_id = q.request_id
WHERE x.request_id IS NOT NULL AND EXISTS (
    SELECT 1 FROM tool_executions y
    WHERE y.tool_name = x.tool_name AND y.request_id = x.request_id AND y.request_id IS NOT NULL
    AND (y.executed_at > x.executed_at OR (y.executed_at = x.executed_at AND y.id > x.id)))
ON CONFLICT (id) DO NOTHING"""

# --- PostgreSQL ------------------------------------------------------------------------------------------------------

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('rollguard:fold', 0))"

_REFRESH = f"""
WITH taken AS (DELETE FROM tool_execution_deltas RETURNING *),
x AS (
    SELECT *, dense_rank() OVER (ORDER BY {_KEY}) AS number,  -- of the rollup: cheaper to group by than its key
           COUNT(*) OVER (PARTITION BY {_KEY}) AS deltas
    FROM (
        SELECT tool_name, width, CASE width WHEN 60 THEN minute ELSE date_trunc('hour', minute, 'UTC') END AS start_at,
               version_number, error_type, {_COUNTS}
        FROM taken CROSS JOIN (VALUES (60), (3600)) AS widths (width)
    ) AS widened
),
sums AS (
    SELECT number, {_KEY}, SUM(executions) AS executions, SUM(successes) AS successes, SUM(timed) AS timed,
           SUM(duration_sum_ms) AS duration_sum_ms, MIN(histogram) AS histogram
    FROM x GROUP BY number, {_KEY}
),
buckets AS (
    SELECT number, h.bucket, SUM(h.executions)::bigint AS executions
    FROM x {HISTOGRAM_ROWS["postgresql"].join} WHERE deltas > 1 GROUP BY number, h.bucket
),
histograms AS (
    SELECT number, ARRAY[array_agg(bucket), array_agg(executions)] AS histogram FROM buckets GROUP BY number
),
added AS (
    INSERT INTO tool_execution_rollups ({_KEY}, {_COUNTS})
    SELECT {_KEY}, executions, successes, timed, duration_sum_ms, COALESCE(histograms.histogram, sums.histogram)
    FROM sums LEFT JOIN histograms USING (number) WHERE TRUE
    {_ADDED}
)
INSERT INTO tool_version_starts (tool_name, version_number, first_hour)
SELECT tool_name, version_number, MIN(start_at) FROM sums WHERE width = 3600 GROUP BY 1, 2
{_EARLIER}"""

_SUPERSEDE = f"""
WITH taken AS (DELETE FROM request_arrivals RETURNING tool_name, request_id),
requests AS (SELECT DISTINCT tool_name, request_id FROM taken)
{_SUPERSEDED.format(requests="requests")}"""

_ADD_DELTAS = sa.text(f"""
WITH added AS (
    INSERT INTO tool_execution_deltas (tool_name, version_number, minute, error_type, {_COUNTS})
    SELECT g.tool_name, g.version_number, 'epoch'::timestamptz + g.minute * interval '1 minute', g.error_type,
           g.executions, g.successes, g.timed, g.duration_sum_ms, CAST(g.histogram AS bigint[])
    FROM unnest(CAST(:tool_name AS text[]), CAST(:version_number AS int[]), CAST(:minute AS bigint[]),
                CAST(:error_type AS text[]), CAST(:executions AS bigint[]), CAST(:successes AS bigint[]),
                CAST(:timed AS bigint[]), CAST(:duration_sum_ms AS float8[]), CAST(:histogram AS text[]))
         AS g (tool_name, version_number, minute, error_type, {_COUNTS})
),
requested AS (
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT * FROM unnest(CAST(:tools AS text[]), CAST(:requests AS text[]))
)
SELECT pg_notify('rollguard_executions', tool_name) FROM deployment_monitoring
WHERE status = 'active' AND tool_name = ANY (CAST(:tool_name AS text[]))""")


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
    connection.execute(_ADD_DELTAS, values)


# --- SQLite ----------------------------------------------------------------------------------------------------------

# Before revision 0011 another program could insert a duration that is text.
_COUNT = """
SELECT substr(executed_at, 1, 16), tool_name, version_number, success,
       CASE WHEN typeof(duration_ms) = 'real' THEN duration_ms END, error_type, request_id
FROM tool_executions WHERE id > ? AND id <= ?"""
_ADD = f"INSERT INTO tool_execution_rollups ({_KEY}, {_COUNTS}) VALUES ({', '.join('?' * 10)}){_ADDED}"
_START = f"INSERT INTO tool_version_starts (tool_name, version_number, first_hour) VALUES (?, ?, ?){_EARLIER}"
_SUPERSEDE_SQLITE = _SUPERSEDED.format(
    requests="(SELECT DISTINCT tool_name, request_id FROM tool_executions x "
    "WHERE x.id > ? AND x.id <= ? AND +x.request_id IS NOT NULL)"
)


def refresh_counted(sqlite: sqlite3.Connection, aggregate: Aggregate[str], before: int) -> None:
    """Add what a writer on SQLite has counted itself to the rollups: every row after the id `before`.

    Args:
        aggregate: its minutes are times as SQLite stores them, cut off after the minute.
    """
    _refresh_to(sqlite, before)
    _add(sqlite, aggregate)
    last = last_id(sqlite)
    if aggregate.requests:
        sqlite.execute(_SUPERSEDE_SQLITE, (before, last))
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
    rows = sqlite.execute(_COUNT, (first, last))
    while chunk := rows.fetchmany(_CHUNK):
        aggregate: Aggregate[str] = Aggregate()
        for row in chunk:
            aggregate.add(*row)
        _add(sqlite, aggregate)
        requests = requests or bool(aggregate.requests)
    if requests:
        sqlite.execute(_SUPERSEDE_SQLITE, (first, last))
    sqlite.execute("UPDATE rollup_state SET rolled_to = ?", (last,))


def _add(sqlite: sqlite3.Connection, aggregate: Aggregate[str]) -> None:
    """Add counts to the rollups of minutes and of hours."""
    minutes = list(aggregate.counted())
    hours = _by_hour(minutes)
    for width, counted, rest in ((60, minutes, ":00.000000"), (3600, hours, ":00:00.000000")):
        sqlite.executemany(
            _ADD,
            (
                (tool_name, width, f"{minute}{rest}", version_number, error_type, *counts, histogram_text(of, "sqlite"))
                for tool_name, version_number, minute, error_type, *counts, of in counted
            ),
        )
    sqlite.executemany(_START, ((c.tool_name, c.version_number, f"{c.minute}:00:00.000000") for c in hours))


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
