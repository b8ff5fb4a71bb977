"""Rollups: what a stretch of time holds, exactly, at a cost that does not grow with the history.

Three sources are added up, and no execution is in two of them: rollups of whole hours and minutes; what was counted and
is not folded into them yet; and, for the parts of a minute at the ends of the stretch, the raw rows. Executions whose
request was tried again later are in these, and are taken off.
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

from rollguard.judge import Window
from rollguard.judge.histogram import NO_DURATION
from rollguard.store.buckets import BUCKET_POSTGRESQL, BUCKET_SQLITE, UNFOLDED
from rollguard.store.engine import Database
from rollguard.store.folding import WAITING, WORTH_FOLDING, fold
from rollguard.store.spans import HOUR, spans
from rollguard.store.stretches import Stretch
from rollguard.store.types import sqlite_text

_CHUNK = 500  # windows counted by one statement


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
            ranges = [ranges_of(number, stretch) for number, stretches in chunk for stretch in stretches]
            rows: dict[int, list[Any]] = defaultdict(list)
            collapsing = any(stretch.collapse for _number, stretches in chunk for stretch in stretches)
            with self._database.read() as connection:
                statement = sa.text(self._sql.count + (self._sql.collapsed if collapsing else ""))
                for row in connection.execute(statement, {"ranges": json.dumps([r for rs in ranges for r in rs])}):
                    rows[row[0]].append(row)
            counted += [_window(rows[number]) for number, _stretches in chunk]
        return counted

    def fold_if_worth_it(self, worth: int = WORTH_FOLDING) -> None:
        """Fold what is counted and not folded yet, where there is so much of it that reading it costs more.

        Also where requests are to be looked through: what was tried again is known only then.
        """
        with self._database.read() as connection:
            waiting, requests = connection.execute(sa.text(WAITING[self._database.dialect])).one()
        if (waiting or 0) >= worth or requests:
            with self._database.write(durable=False) as connection:
                fold(connection, self._database.dialect)


def ranges_of(number: int, stretch: Stretch, *, widest: int = HOUR) -> Iterator[list[Any]]:
    """A stretch of the window of that number, as the statements take it."""
    for span in spans(stretch.start, stretch.end, widest=widest):
        yield [
            number,
            stretch.tool_name,
            span.width,
            _text(span.start),
            _text(span.end),
            stretch.only,
            stretch.but,
            list(stretch.leave_out) or None,
            stretch.collapse,
        ]


def _text(moment: datetime) -> str:
    """A moment as SQLite stores it, which PostgreSQL reads as well (our sessions there are in UTC)."""
    return sqlite_text(moment.astimezone(UTC))


def _window(rows: Sequence[Any]) -> Window:
    histogram: dict[int, int] = defaultdict(int)
    successes, duration = 0, 0.0
    for _number, bucket, executions, succeeded, duration_sum in rows:
        histogram[int(bucket)] += int(executions)
        successes += int(succeeded)
        duration += float(duration_sum)
    counts = tuple((bucket, count) for bucket, count in sorted(histogram.items()) if count > 0)
    total = sum(count for _bucket, count in counts)
    timed = total - max(0, histogram.get(NO_DURATION, 0))
    return Window(total, min(max(0, successes), total), timed, max(0.0, duration) if timed else 0.0, counts)


# --- the statements --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Statements:
    count: str
    collapsed: str


_RANGES = {
    "sqlite": """
WITH r AS (
    SELECT json_extract(value, '$[0]') AS k, json_extract(value, '$[1]') AS tool, json_extract(value, '$[2]') AS width,
           json_extract(value, '$[3]') AS a, json_extract(value, '$[4]') AS b,
           json_extract(value, '$[5]') AS only, json_extract(value, '$[6]') AS but,
           json_extract(value, '$[7]') AS leave_out, json_extract(value, '$[8]') AS collapse
    FROM json_each(:ranges)
)""",
    "postgresql": """
WITH r AS (
    SELECT (j ->> 0)::int AS k, j ->> 1 AS tool, (j ->> 2)::int AS width, (j ->> 3)::timestamptz AS a,
           (j ->> 4)::timestamptz AS b, (j ->> 5)::int AS only, (j ->> 6)::int AS but,
           CASE WHEN j ->> 7 IS NULL THEN NULL ELSE ARRAY(SELECT json_array_elements_text(j -> 7)) END AS leave_out,
           (j ->> 8)::float8 AS collapse
    FROM json_array_elements(CAST(:ranges AS json)) AS j
)""",
}

# {version} is the source's version number, 0 where an execution named none.
_VERSION = "(r.only IS NULL OR {version} = r.only) AND (r.but IS NULL OR {version} <> r.but)"
_LEFT_OUT = {  # {error} is the source's error type, or '' for a success
    "sqlite": "(r.leave_out IS NULL OR {error} NOT IN (SELECT value FROM json_each(r.leave_out)))",
    "postgresql": "(r.leave_out IS NULL OR {error} <> ALL (r.leave_out))",
}
_ERROR = "CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END"

# The first hour in which a version ran, for a range that asks for one version: there is nothing before.
_START = {
    "sqlite": "MAX(r.a, {first})",
    "postgresql": "GREATEST(r.a, {first})",
}
_FIRST = """CASE WHEN r.only IS NULL THEN r.a ELSE COALESCE((
    SELECT s.first_hour FROM tool_version_starts s
    WHERE s.tool_name = r.tool AND s.version_number = r.only), r.b) END"""

# Range by range: without a GROUP BY of its own inside, a planner may start from the rows, of which there are many.
_BY_RANGE = {
    "sqlite": "SELECT r.k, {keys}, {counts} FROM r CROSS JOIN {table} WHERE {where} GROUP BY r.k, {keys}",
    "postgresql": """
SELECT r.k, s.* FROM r CROSS JOIN LATERAL (
    SELECT {keys}, {counts} FROM {table} WHERE {where} GROUP BY {keys}
) s""",
}
_UNTIMED = f"CAST({NO_DURATION} AS INTEGER)"  # a number alone would be a column's in GROUP BY
_RAW_BUCKET = {"sqlite": BUCKET_SQLITE, "postgresql": BUCKET_POSTGRESQL}
_RAW_SUMS = "COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COALESCE(SUM(x.duration_ms), 0)"
_TAKEN_OFF = "-COUNT(*), -SUM(CASE WHEN x.success THEN 1 ELSE 0 END), -COALESCE(SUM(x.duration_ms), 0)"


def _ours(dialect: str) -> str:
    return f"{_VERSION.format(version='x.version_number')} AND {_LEFT_OUT[dialect].format(error='x.error_type')}"


def _raw(dialect: str) -> str:
    version = _VERSION.format(version="COALESCE(x.version_number, 0)")
    return f"{version} AND {_LEFT_OUT[dialect].format(error=_ERROR)}"


# Where the raw rows of a part of a minute are gone they were not counted, and nothing is to be taken off.
_STILL_THERE = "EXISTS (SELECT 1 FROM tool_executions y WHERE y.id = x.id AND y.executed_at = x.executed_at)"
_IN_RANGE = "x.tool_name = r.tool AND x.executed_at >= r.a AND x.executed_at < r.b"


@dataclass(frozen=True, slots=True)
class Keys:
    """What is counted apart: the expressions for it in rollups, in raw rows, and in what is not folded yet."""

    rolled: str
    raw: str
    unfolded: str


def counting_sql(dialect: str, keys: Keys | None, *, durations: bool = True) -> str:
    """The statement that counts windows: (number, keys, bucket, executions, successes, sum of durations), to add up.

    Args:
        keys: what is counted apart, beside the buckets of durations.
        durations: whether the buckets are wanted; the statement gives none otherwise.
    """
    by_range, ours, raw = _BY_RANGE[dialect], _ours(dialect), _raw(dialect)
    start = _START[dialect].format(first=_FIRST)
    rolled = (
        f"r.width > 0 AND x.tool_name = r.tool AND x.width = r.width AND x.start_at >= {start} AND x.start_at < r.b"
    )
    raw_keys = _raw_keys(dialect, keys.raw if keys else None, durations=durations)
    parts = [
        by_range.format(
            keys=columns, counts=counts, table=f"tool_execution_rollups x {join}", where=f"{rolled} AND {ours}"
        )
        for columns, counts, join in _kept(dialect, keys.rolled if keys else None, durations=durations)
    ]
    parts += [
        by_range.format(
            keys=raw_keys, counts=_RAW_SUMS, table="tool_executions x", where=f"r.width = 0 AND {_IN_RANGE} AND {raw}"
        ),
        by_range.format(
            keys=raw_keys,
            counts=_TAKEN_OFF,
            table="superseded_executions x",
            where=f"{_IN_RANGE} AND {raw} AND (r.width > 0 OR {_STILL_THERE})",
        ),
    ]
    if dialect == "postgresql":  # what is noted and not folded yet
        parts += [
            f"SELECT r.k, {columns}, {counts} FROM tool_execution_deltas x {join} JOIN r ON r.width > 0 "
            f"AND x.tool_name = r.tool AND x.minute >= r.a AND x.minute < r.b AND {ours} GROUP BY r.k, {columns}"
            for columns, counts, join in _kept(dialect, keys.unfolded if keys else None, durations=durations)
        ]
    else:  # what lies beyond the last id that was rolled up: from the rows, of which there are few
        unfolded = _raw_keys(dialect, keys.unfolded if keys else None, durations=durations)
        parts.append(
            f"SELECT r.k, {unfolded}, {_RAW_SUMS} FROM tool_executions x CROSS JOIN r "
            "WHERE x.id > (SELECT rolled_to FROM rollup_state) AND r.width > 0 AND r.tool = +x.tool_name "
            f"AND +x.executed_at >= r.a AND +x.executed_at < r.b AND {raw} GROUP BY r.k, {unfolded}"
        )
    return _RANGES[dialect] + "\nUNION ALL\n".join(parts)


def _raw_keys(dialect: str, key: str | None, *, durations: bool) -> str:
    return ", ".join([*([key] if key else []), *([_RAW_BUCKET[dialect]] if durations else [])])


def _kept(dialect: str, key: str | None, *, durations: bool) -> list[tuple[str, str, str]]:
    """How rows with a histogram are read: (keys, counts, join) of each reading."""
    if not durations:
        return [(key or "", "SUM(x.executions), SUM(x.successes), SUM(x.duration_sum_ms)", "")]
    histogram = UNFOLDED[dialect]
    before = f"{key}, " if key else ""
    return [
        (f"{before}{_UNTIMED}", "SUM(x.executions - x.timed), SUM(x.successes), SUM(x.duration_sum_ms)", ""),
        (f"{before}{histogram.bucket}", f"SUM({histogram.executions}), 0, 0.0", histogram.join),
    ]


# A failed call that names no request, and soon after it another one with the same parameters.
_MOMENT = "'%Y-%m-%d %H\\:%M\\:%f999'"
_SOON_AFTER = {
    "sqlite": f"y.executed_at <= strftime({_MOMENT}, x.executed_at, '+' || r.collapse || ' seconds')",
    "postgresql": "y.executed_at <= x.executed_at + make_interval(secs => r.collapse)",
}
_COLLAPSED = """r.collapse > 0 AND {in_range} AND NOT x.success AND {raw}
    AND x.request_id IS NULL AND x.parameters IS NOT NULL AND EXISTS (
        SELECT 1 FROM tool_executions y
        WHERE y.tool_name = x.tool_name AND y.executed_at >= x.executed_at AND {soon_after}
        AND (y.executed_at > x.executed_at OR y.id > x.id)
        AND y.request_id IS NULL AND y.parameters = x.parameters)"""


def collapsed_sql(dialect: str, keys: Keys | None, *, durations: bool = True) -> str:
    """The end of that statement where a stretch asks for retries to be taken off."""
    where = _COLLAPSED.format(in_range=_IN_RANGE, raw=_raw(dialect), soon_after=_SOON_AFTER[dialect])
    if dialect == "sqlite":
        where = where.replace("NOT x.success", "x.success = 0")  # as the index of failures says it
    raw_keys = _raw_keys(dialect, keys.raw if keys else None, durations=durations)
    part = _BY_RANGE[dialect].format(keys=raw_keys, counts=_TAKEN_OFF, table="tool_executions x", where=where)
    return f"\nUNION ALL\n{part}"


_SQL = {
    dialect: _Statements(counting_sql(dialect, None), collapsed_sql(dialect, None))
    for dialect in ("sqlite", "postgresql")
}
