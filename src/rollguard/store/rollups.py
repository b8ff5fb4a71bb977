"""Rollups: what a stretch of time holds, exactly, at a cost that does not grow with the history.

Three sources are added up, and no execution is in two of them: rollups of whole hours and minutes; what was counted and
is not folded into them yet; and, for the parts of a minute at the ends of the stretch, the raw rows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import Window
from rollguard.judge.histogram import NO_DURATION
from rollguard.store.buckets import BUCKET_POSTGRESQL, BUCKET_SQLITE
from rollguard.store.engine import Database
from rollguard.store.spans import spans
from rollguard.store.stretches import Stretch

_CHUNK = 500  # windows counted by one statement
WORTH_FOLDING = 500  # rows beyond the last that was rolled up; fewer are as quickly read raw


class Rollups:
    """The tables `tool_execution_rollups` and `tool_execution_deltas`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = _SQL[database.dialect]

    def count(self, windows: Sequence[Sequence[Stretch]]) -> list[Window]:
        """Each window's executions, a window being the sum of its stretches; a chunk of windows by one statement."""
        counted: list[Window] = []
        numbered = iter(enumerate(windows))
        while chunk := list(islice(numbered, _CHUNK)):
            ranges = [_range(number, stretch) for number, stretches in chunk for stretch in stretches]
            rows: dict[int, list[Any]] = defaultdict(list)
            with self._database.read() as connection:
                statement = sa.text(self._sql.count)
                for row in connection.execute(statement, {"ranges": json.dumps([r for rs in ranges for r in rs])}):
                    rows[row[0]].append(row)
            counted += [_window(rows[number]) for number, _stretches in chunk]
        return counted

    def fold_if_worth_it(self, worth: int = WORTH_FOLDING) -> None:
        """Fold what is counted and not folded yet, where there is so much of it that reading it costs more."""
        with self._database.read() as connection:
            waiting = connection.execute(sa.text(self._sql.waiting)).scalar_one() or 0
        if waiting >= worth:
            with self._database.write(durable=False) as connection:
                fold(connection, self._database.dialect)


def fold(connection: Connection, dialect: str) -> None:
    """Fold everything that is counted into the rollups, in the caller's write transaction."""
    if dialect == "postgresql" and not connection.execute(sa.text(_ALONE)).scalar_one():
        return  # another process is at it
    for statement in _SQL[dialect].fold:
        connection.execute(sa.text(statement))


def _range(number: int, stretch: Stretch) -> Iterator[list[Any]]:
    for span in spans(stretch.start, stretch.end):
        yield [
            number,
            stretch.tool_name,
            span.width,
            _text(span.start),
            _text(span.end),
            stretch.only,
            stretch.but,
        ]


def _text(moment: datetime) -> str:
    """A moment as SQLite stores it, which PostgreSQL reads as well (our sessions there are in UTC)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _window(rows: Sequence[Any]) -> Window:
    histogram: dict[int, int] = defaultdict(int)
    successes, duration = 0, 0.0
    for _number, bucket, executions, succeeded, duration_sum in rows:
        histogram[int(bucket)] += int(executions)
        successes += int(succeeded)
        duration += float(duration_sum)
    total = sum(histogram.values())
    return Window(total, successes, total - histogram.get(NO_DURATION, 0), duration, tuple(sorted(histogram.items())))


# --- the statements --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Statements:
    count: str
    waiting: str
    fold: tuple[str, ...]


_RANGES = {
    "sqlite": """
WITH r AS (
    SELECT json_extract(value, '$[0]') AS k, json_extract(value, '$[1]') AS tool, json_extract(value, '$[2]') AS width,
           json_extract(value, '$[3]') AS a, json_extract(value, '$[4]') AS b,
           json_extract(value, '$[5]') AS only, json_extract(value, '$[6]') AS but
    FROM json_each(:ranges)
)""",
    "postgresql": """
WITH r AS (
    SELECT (j ->> 0)::int AS k, j ->> 1 AS tool, (j ->> 2)::int AS width, (j ->> 3)::timestamptz AS a,
           (j ->> 4)::timestamptz AS b, (j ->> 5)::int AS only, (j ->> 6)::int AS but
    FROM json_array_elements(CAST(:ranges AS json)) AS j
)""",
}

# {version} is the source's version number, 0 where an execution named none.
_VERSION = "(r.only IS NULL OR {version} = r.only) AND (r.but IS NULL OR {version} <> r.but)"
_OURS = _VERSION.format(version="x.version_number")
_RAW = _VERSION.format(version="COALESCE(x.version_number, 0)")

# Range by range: without a GROUP BY of its own inside, a planner may start from the rows, of which there are many.
_BY_RANGE = {
    "sqlite": "SELECT r.k, {bucket}, {counts} FROM r CROSS JOIN {table} x WHERE {where} GROUP BY r.k, 2",
    "postgresql": """
SELECT r.k, s.* FROM r CROSS JOIN LATERAL (
    SELECT {bucket} AS bucket, {counts} FROM {table} x WHERE {where} GROUP BY 1
) s""",
}
_SUMS = "SUM(x.executions), SUM(x.successes), SUM(x.duration_sum_ms)"
_RAW_SUMS = "COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COALESCE(SUM(x.duration_ms), 0)"


def _count_sql(dialect: str, bucket: str) -> str:
    by_range = _BY_RANGE[dialect]
    parts = [
        by_range.format(
            bucket="x.bucket",
            counts=_SUMS,
            table="tool_execution_rollups",
            where="r.width > 0 AND x.tool_name = r.tool AND x.width = r.width "
            f"AND x.start_at >= r.a AND x.start_at < r.b AND {_OURS}",
        ),
        by_range.format(
            bucket=bucket,
            counts=_RAW_SUMS,
            table="tool_executions",
            where=f"r.width = 0 AND x.tool_name = r.tool AND x.executed_at >= r.a AND x.executed_at < r.b AND {_RAW}",
        ),
    ]
    if dialect == "postgresql":  # what is noted and not folded yet
        parts.append(
            f"SELECT r.k, x.bucket, {_SUMS} FROM tool_execution_deltas x JOIN r ON r.width > 0 "
            f"AND x.tool_name = r.tool AND x.minute >= r.a AND x.minute < r.b AND {_OURS} GROUP BY 1, 2"
        )
    else:  # what lies beyond the last id that was rolled up: from the rows, of which there are few
        parts.append(
            f"SELECT r.k, {bucket}, {_RAW_SUMS} FROM tool_executions x CROSS JOIN r "
            "WHERE x.id > (SELECT rolled_to FROM rollup_state) AND r.width > 0 AND r.tool = +x.tool_name "
            f"AND +x.executed_at >= r.a AND +x.executed_at < r.b AND {_RAW} GROUP BY 1, 2"
        )
    return _RANGES[dialect] + "\nUNION ALL\n".join(parts)


_INTO = """
INSERT INTO tool_execution_rollups
    (tool_name, width, start_at, version_number, bucket, executions, successes, duration_sum_ms)"""

_SUMMED = """
SELECT tool_name, {width}, {start}, version_number, bucket, SUM(executions), SUM(successes), SUM(duration_sum_ms)
FROM {source} WHERE TRUE
GROUP BY 1, 2, 3, 4, 5"""

_ADDED = """
ON CONFLICT (tool_name, width, start_at, version_number, bucket) DO UPDATE SET
    executions = tool_execution_rollups.executions + excluded.executions,
    successes = tool_execution_rollups.successes + excluded.successes,
    duration_sum_ms = tool_execution_rollups.duration_sum_ms + excluded.duration_sum_ms"""

_FOLD = _INTO + _SUMMED + _ADDED
_HOUR_SQLITE = "substr(minute, 1, 13) || '\\:00\\:00.000000'"

_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended('rollguard:fold', 0))"

_SQL = {
    "sqlite": _Statements(
        count=_count_sql("sqlite", BUCKET_SQLITE),
        waiting="SELECT (SELECT MAX(id) FROM tool_executions) - rolled_to FROM rollup_state",
        fold=(
            f"""
WITH counted AS MATERIALIZED (
    SELECT x.tool_name, substr(x.executed_at, 1, 16) || '\\:00.000000' AS minute,
           COALESCE(x.version_number, 0) AS version_number, {BUCKET_SQLITE} AS bucket,
           COUNT(*) AS executions, SUM(x.success) AS successes, TOTAL(x.duration_ms) AS duration_sum_ms
    FROM tool_executions x WHERE x.id > (SELECT rolled_to FROM rollup_state)
    GROUP BY 1, 2, 3, 4
)
{_INTO}
SELECT tool_name, 60, minute, version_number, bucket, executions, successes, duration_sum_ms FROM counted
UNION ALL
{_SUMMED.format(width=3600, start=_HOUR_SQLITE, source="counted")}
{_ADDED}""",
            "UPDATE rollup_state SET rolled_to = COALESCE((SELECT MAX(id) FROM tool_executions), rolled_to)",
        ),
    ),
    "postgresql": _Statements(
        count=_count_sql("postgresql", BUCKET_POSTGRESQL),
        waiting=f"SELECT COUNT(*) FROM (SELECT 1 FROM tool_execution_deltas LIMIT {WORTH_FOLDING}) AS few",
        fold=(
            f"""
WITH taken AS (DELETE FROM tool_execution_deltas RETURNING *),
minutes AS ({_FOLD.format(width=60, start="minute", source="taken")}),
hours AS ({_FOLD.format(width=3600, start="date_trunc('hour', minute, 'UTC')", source="taken")})
SELECT 1""",
        ),
    ),
}
