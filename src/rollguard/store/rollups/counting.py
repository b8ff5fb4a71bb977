"""The statements that count executions, and read the rows of those that count.

They take ranges of time: each has the number of its window, a tool, a width, and a filter of executions. Counts and
rows share one filter: `_VERSION`, `_LEFT_OUT`, `_RETRIED`, the table `superseded_executions` and what the next refresh
will add to it, `superseding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rollguard.judge import GIVEN_UP, TIMED_OUT, UNCOUNTED
from rollguard.judge.histogram import NO_DURATION, SCORES
from rollguard.store.database.histograms import BUCKET, HISTOGRAM_ROWS, SCORE_BUCKET
from rollguard.store.rollups.first_hour_cache import HOUR_TOTAL
from rollguard.store.rollups.refresh import NEWLY_SUPERSEDED
from rollguard.store.schema import tool_executions as t

_OUTCOME = (t.c.executed_at, t.c.success, t.c.error_type, t.c.duration_ms)
_FAILURE = (
    *(t.c.tool_name, t.c.execution_id, t.c.executed_at, t.c.version_number),
    *(t.c.error_type, t.c.error, t.c.parameters, t.c.failed_at),
)


def _text_of(sql: str) -> sa.TextClause:
    return sa.text(" ".join(sql.split()))


LAST_HOUR = -1  # in the place of a width: a `LastHour`; the statement finds which rollups it can read
FIRST_HOUR = -2
_RANGE = {
    **{"k": "int", "tool": "text", "width": "int", "a": "timestamptz", "b": "timestamptz", "only": "int", "but": "int"},
    **{"buts": "text[]", "leave_out": "text[]", "collapse": "float8"},
}
_LAST_HOUR_COLUMNS = {"minute": "timestamptz", "next_minute": "timestamptz", "next_hour": "timestamptz"}
_FIRST_HOUR_COLUMNS = {
    **{"hour": "timestamptz", "minute": "timestamptz", "next_minute": "timestamptz"},
    **{"place": "int", "cached": "bigint"},
}


def _given_sql(dialect: str, ranges: str, columns: dict[str, str]) -> str:
    """Return the query that reads a parameter with ranges as rows."""
    if dialect == "sqlite":
        read = (f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns))
        return f"SELECT {', '.join(read)} FROM json_each(:{ranges})"
    texts = "CASE WHEN j ->> {0} IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(j -> {0})) END AS {1}"
    read = (
        texts.format(place, name) if kind == "text[]" else f"(j ->> {place})::{kind} AS {name}"
        for place, (name, kind) in enumerate(columns.items())
    )
    return f"SELECT {', '.join(read)} FROM jsonb_array_elements(CAST(:{ranges} AS jsonb)) AS j"


# The hour's rollup is read if the hour holds nothing after the interval: no later minute has a rollup, and the minute
# that the interval ends in has rows, but none after its end.
_RANGES = """
WITH {arrived},
given AS MATERIALIZED ({given}){first_hours},
last_hours AS MATERIALIZED (
    SELECT g.*, NOT EXISTS (
        SELECT 1 FROM tool_execution_rollups x
        WHERE x.tool_name = g.tool AND x.width = 60 AND x.start_at >= g.next_minute AND x.start_at < g.next_hour
    ) AND (g.minute = g.b OR (
        NOT EXISTS (
            SELECT 1 FROM tool_executions x
            WHERE x.tool_name = g.tool AND x.executed_at >= g.b AND x.executed_at < g.next_minute
        ) AND (
            EXISTS (
                SELECT 1 FROM tool_executions x
                WHERE x.tool_name = g.tool AND x.executed_at >= g.minute AND x.executed_at < g.b
            ) OR NOT EXISTS (
                SELECT 1 FROM tool_execution_rollups x
                WHERE x.tool_name = g.tool AND x.width = 60 AND x.start_at = g.minute
            )
        )
    )) AS whole
    FROM given g WHERE g.width < 0
),
r AS MATERIALIZED (
    SELECT k, tool, width, a, b, g.only, but, buts, leave_out, collapse, first_hour FROM given g WHERE width >= 0
    UNION ALL
    SELECT k, tool, 3600, a, b, g.only, but, buts, leave_out, collapse, first_hour FROM last_hours g WHERE whole
    UNION ALL
    SELECT k, tool, 60, a, minute, g.only, but, buts, leave_out, collapse, first_hour
    FROM last_hours g WHERE NOT whole AND a < minute
    UNION ALL
    SELECT k, tool, 0, minute, b, g.only, but, buts, leave_out, collapse, first_hour
    FROM last_hours g WHERE NOT whole AND minute < b
    {first_hour_ranges}
), {superseding} """
# A cached first hour is valid while nothing was added to its hour or amended in it. On PostgreSQL the executions of its
# first minute are read from the rows if the interval begins inside it, so they count before they are aggregated. What
# does not count is found each time, and what is not aggregated yet too: the first two ranges do that, from no rollup.
_FIRST_HOURS = """,
first_hours AS MATERIALIZED (
    SELECT g.*, (
        SELECT COALESCE(SUM(x.executions + x.amended), 0) FROM tool_execution_rollups x
        WHERE x.tool_name = g.tool AND x.width = 3600 AND x.start_at = g.hour
    ) {not_aggregated} AS hour_total
    FROM ({given}) g {join_deltas}
)"""
_JOIN_DELTAS = """LEFT JOIN (
    SELECT tool_name, minute AS counted_at, SUM(executions + amended) AS n FROM tool_execution_deltas GROUP BY 1, 2
) d ON d.tool_name = g.tool AND d.counted_at = g.minute AND g.minute < g.a"""
_FIRST_HOUR_RANGES = """
    UNION ALL
    SELECT k, tool, CASE WHEN cached = hour_total THEN 1 ELSE -1 END, a, next_minute, g.only, but, buts,
           leave_out, collapse, first_hour
    FROM first_hours g WHERE a < next_minute
    UNION ALL
    SELECT k, tool, 1, next_minute, b, g.only, but, buts, leave_out, collapse, first_hour FROM first_hours g
    UNION ALL
    SELECT place, tool, 60, next_minute, b, g.only, but, buts, leave_out, 0, first_hour FROM first_hours g
    WHERE (cached = hour_total) IS NOT TRUE
    UNION ALL
    SELECT place, tool, 0, a, next_minute, g.only, but, buts, leave_out, 0, first_hour FROM first_hours g
    WHERE (cached = hour_total) IS NOT TRUE"""

# {version} is the source's version number, 0 where an execution named none. One version that does not count is the
# usual case, and quicker without a list.
_VERSION = "(r.only IS NULL OR {version} = r.only) AND (r.but IS NULL OR {version} <> r.but) AND "
_BUTS = {
    "sqlite": "(r.buts IS NULL OR {version} NOT IN (SELECT value FROM json_each(r.buts)))",
    "postgresql": "(r.buts IS NULL OR {version} <> ALL (r.buts::int[]))",
}
_LEFT_OUT = {  # {error} is the source's error type, or '' for a success
    "sqlite": "(r.leave_out IS NULL OR {error} NOT IN (SELECT value FROM json_each(r.leave_out)))",
    "postgresql": "(r.leave_out IS NULL OR {error} <> ALL (r.leave_out))",
}
_ERROR = "CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END"
# What is neither success nor failure is in no window. Hangs are in their own buckets of a window: `Codes` reads them.
_UNCOUNTED = "{error} NOT IN ('" + "', '".join(UNCOUNTED) + "')"
_OF_HANGS = 10_000
_KIND = f"CASE {{error}} WHEN '{GIVEN_UP}' THEN {_OF_HANGS} WHEN '{TIMED_OUT}' THEN {2 * _OF_HANGS} ELSE 0 END"


# A row with a score is in a bucket of both; in a rollup's histogram the scores have buckets of their own.
_OF_SCORES = 100_000


class Codes:
    """Adds up the rows of the counting statement by the kind of their buckets."""

    def __init__(self) -> None:
        self.kinds: tuple[dict[int, int], ...] = ({}, {}, {})
        """Executions by the bucket of their duration: the counted ones, the given up and the timed out."""
        self.scores: dict[int, int] = {}
        self.successes, self.duration_ms = 0, 0.0

    def add(self, code: int, executions: int, successes: int, duration_ms: float) -> None:
        """Add a row by its code, which is its bucket with what else the statement says of it."""
        kind, bucket = 0, code
        if code >= SCORES:  # not the usual row: counted, without a score
            score, rest = divmod(code + 1, _OF_SCORES)  # the first bucket is that without durations, -1
            kind, bucket = rest // _OF_HANGS, rest % _OF_HANGS - 1
            if kind == 0:
                place = score - 1 if score else bucket - SCORES
                self.scores[place] = self.scores.get(place, 0) + executions
        if kind == 0:
            self.successes, self.duration_ms = self.successes + successes, self.duration_ms + duration_ms
        if bucket < SCORES:
            self.kinds[kind][bucket] = self.kinds[kind].get(bucket, 0) + executions


# Of a version that never ran nothing is read. A range of one version is read from the rollups of the first hour in
# which it ran: there is nothing before. The executions of a version may all be among those not aggregated yet.
_RAN = """
SELECT g.*, CASE WHEN g.only IS NULL THEN g.a ELSE COALESCE(s.first_hour, g.b) END AS first_hour
FROM ({given}) g LEFT JOIN tool_version_starts s ON s.tool_name = g.tool AND s.version_number = g.only
WHERE g.only IS NULL OR s.first_hour < g.b OR (g.tool, g.only) IN (SELECT tool_name, version_number FROM arrived)"""
_ARRIVED = {
    "sqlite": """arrived AS MATERIALIZED (
    SELECT DISTINCT tool_name, COALESCE(version_number, 0) AS version_number FROM tool_executions NOT INDEXED
    WHERE id > (SELECT rolled_to FROM rollup_state))""",
    "postgresql": "arrived AS MATERIALIZED (SELECT DISTINCT tool_name, version_number FROM tool_execution_deltas)",
}
_START = {"sqlite": "MAX(r.a, r.first_hour)", "postgresql": "GREATEST(r.a, r.first_hour)"}
# What is not aggregated yet is a part of its own on SQLite.
_TO_READ_RAW = {"sqlite": "x.id <= (SELECT rolled_to FROM rollup_state) AND", "postgresql": ""}

# Range by range: without a GROUP BY for each range, a planner may start from the many rows.
_BY_RANGE = {
    "sqlite": "SELECT r.k, {keys}, {counts} FROM r CROSS JOIN {table} WHERE {where} GROUP BY r.k, {keys}",
    "postgresql": """
SELECT r.k, s.* FROM r CROSS JOIN LATERAL (
    SELECT {keys}, {counts} FROM {table} WHERE {where} GROUP BY {keys}
) s""",
}
_UNTIMED = f"CAST({NO_DURATION} AS INTEGER)"  # a number alone would be a column's in GROUP BY
_RAW_SUMS = "COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COALESCE(SUM(x.duration_ms), 0)"
_SUBTRACTED = "-COUNT(*), -SUM(CASE WHEN x.success THEN 1 ELSE 0 END), -COALESCE(SUM(x.duration_ms), 0)"


def _rollup_filter(dialect: str) -> str:
    version = f"{_VERSION}{_BUTS[dialect]}".format(version="x.version_number")
    left_out = f"{_UNCOUNTED} AND {_LEFT_OUT[dialect]}".format(error="x.error_type")
    return f"{version} AND {left_out}"


def _raw_filter(dialect: str) -> str:
    version = f"{_VERSION}{_BUTS[dialect]}".format(version="COALESCE(x.version_number, 0)")
    left_out = _LEFT_OUT[dialect].format(error=_ERROR)
    return f"{version} AND (x.success OR {_UNCOUNTED.format(error=_ERROR)}) AND {left_out}"


# Removed raw rows of a part of a minute were not counted, so nothing is subtracted for them.
_STILL_THERE = "EXISTS (SELECT 1 FROM tool_executions y WHERE y.id = x.id AND y.executed_at = x.executed_at)"
_IN_RANGE = "x.tool_name = r.tool AND x.executed_at >= r.a AND x.executed_at < r.b"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key that counts are grouped by, as an expression for rollups, raw rows, and what is not aggregated yet."""

    rolled: str
    raw: str
    not_aggregated: str


def counting_sql(dialect: str, keys: Keys | None, *, durations: bool = True) -> str:
    """Return the statement that counts windows: to be added up by window.

    Its rows are (number, key, bucket, executions, successes, sum of durations in ms).

    Args:
        keys: what counts are grouped by, beside the buckets of durations.
        durations: False puts all executions into the bucket of those without a duration.
    """
    by_range, ours, raw = _BY_RANGE[dialect], _rollup_filter(dialect), _raw_filter(dialect)
    rolled = (
        "r.width > 0 AND x.tool_name = r.tool AND x.width = r.width "
        f"AND x.start_at >= {_START[dialect]} AND x.start_at < r.b"
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
            keys=raw_keys,
            counts=_RAW_SUMS,
            table="tool_executions x",
            where=f"r.width = 0 AND {_TO_READ_RAW[dialect]} {_IN_RANGE} AND {raw}",
        ),
        by_range.format(
            keys=raw_keys,
            counts=_SUBTRACTED,
            table="superseded_executions x",
            where=f"r.k >= 0 AND {_IN_RANGE} AND {raw} AND (r.width > 0 OR {_STILL_THERE})",
        ),
        f"SELECT r.k, {raw_keys}, {_SUBTRACTED} FROM superseding x CROSS JOIN r "
        f"WHERE r.k >= 0 AND {_IN_RANGE} AND {raw} GROUP BY r.k, {raw_keys}",
    ]
    if dialect == "postgresql":  # what is counted and not aggregated yet
        parts += [
            f"SELECT r.k, {columns}, {counts} FROM tool_execution_deltas x {join} JOIN r ON r.width > 0 AND r.k >= 0 "
            f"AND x.tool_name = r.tool AND x.minute >= r.a AND x.minute < r.b AND {ours} GROUP BY r.k, {columns}"
            for columns, counts, join in _kept(dialect, keys.not_aggregated if keys else None, durations=durations)
        ]
    else:  # the few rows after the last id that is aggregated
        not_aggregated = _raw_keys(dialect, keys.not_aggregated if keys else None, durations=durations)
        parts.append(
            f"SELECT r.k, {not_aggregated}, {_RAW_SUMS} FROM tool_executions x CROSS JOIN r "
            "WHERE x.id > (SELECT rolled_to FROM rollup_state) AND r.k >= 0 AND r.tool = +x.tool_name "
            f"AND +x.executed_at >= r.a AND +x.executed_at < r.b AND {raw} GROUP BY r.k, {not_aggregated}"
        )
    first_hours = {"first_hours": "", "first_hour_ranges": ""}
    if keys is None:
        changed = "FROM first_hours WHERE (cached = hour_total) IS NOT TRUE"
        parts.append(f"SELECT place, {HOUR_TOTAL}, hour_total, 0, 0.0 {changed}")
        cached = _FIRST_HOURS.format(
            given=_RAN.format(given=_given_sql(dialect, "first_hours", _RANGE | _FIRST_HOUR_COLUMNS)),
            not_aggregated="+ COALESCE(d.n, 0)" if dialect == "postgresql" else "",
            join_deltas=_JOIN_DELTAS if dialect == "postgresql" else "",
        )
        first_hours = {"first_hours": cached, "first_hour_ranges": _FIRST_HOUR_RANGES}
    ranges = _RANGES.format(
        arrived=_ARRIVED[dialect],
        given=_RAN.format(given=_given_sql(dialect, "ranges", _RANGE | _LAST_HOUR_COLUMNS)),
        superseding=NEWLY_SUPERSEDED[dialect],
        **first_hours,
    )
    return ranges + "\nUNION ALL\n".join(parts)


def _raw_keys(dialect: str, key: str | None, *, durations: bool) -> str:
    bucket = f"{BUCKET if durations else _UNTIMED} + {_KIND.format(error=_ERROR)}"
    if durations:
        bucket += f" + CASE WHEN x.score IS NULL THEN 0 ELSE {_OF_SCORES} * (1 + {SCORE_BUCKET[dialect]}) END"
    return ", ".join([*([key] if key else []), bucket])


def _kept(dialect: str, key: str | None, *, durations: bool) -> list[tuple[str, str, str]]:
    """Return how rows with a histogram are read: (keys, counts, join) of each query."""
    before, kind = f"{key}, " if key else "", _KIND.format(error="x.error_type")
    untimed = f"{before}{_UNTIMED} + {kind}"
    if not durations:
        return [(untimed, "SUM(x.executions), SUM(x.successes), SUM(x.duration_sum_ms)", "")]
    histogram = HISTOGRAM_ROWS[dialect]
    return [
        (untimed, "SUM(x.executions - x.timed), SUM(x.successes), SUM(x.duration_sum_ms)", ""),
        (f"{before}{histogram.bucket} + {kind}", f"SUM({histogram.executions}), 0, 0.0", histogram.join),
    ]


# A failed call without a request id, and soon after it another call with the same parameters.
_FAILED = {"sqlite": "x.success = 0", "postgresql": "NOT x.success"}  # as the index of failures says it
_MOMENT = "'%Y-%m-%d %H\\:%M\\:%f999'"
_SOON_AFTER = {
    "sqlite": f"y.executed_at <= strftime({_MOMENT}, x.executed_at, '+' || r.collapse || ' seconds')",
    "postgresql": "y.executed_at <= x.executed_at + make_interval(secs => r.collapse)",
}
_RETRIED = """r.collapse > 0 AND {failed} AND x.request_id IS NULL AND x.parameters IS NOT NULL AND EXISTS (
        SELECT 1 FROM tool_executions y
        WHERE y.tool_name = x.tool_name AND y.executed_at >= x.executed_at AND {soon_after}
        AND (y.executed_at > x.executed_at OR y.id > x.id)
        AND y.request_id IS NULL AND y.parameters = x.parameters)"""


def _retried(dialect: str) -> str:
    return _RETRIED.format(failed=_FAILED[dialect], soon_after=_SOON_AFTER[dialect])


def collapsed_sql(dialect: str, keys: Keys | None, *, durations: bool = True) -> str:
    """Return the part to append to that statement if a selection leaves out retries."""
    where = f"{_IN_RANGE} AND {_raw_filter(dialect)} AND {_retried(dialect)}"
    raw_keys = _raw_keys(dialect, keys.raw if keys else None, durations=durations)
    part = _BY_RANGE[dialect].format(keys=raw_keys, counts=_SUBTRACTED, table="tool_executions x", where=where)
    return f"\nUNION ALL\n{part}"


# Range by range here too, for the same reason.
_LATEST_FIRST = "ORDER BY x.executed_at DESC, x.id DESC LIMIT :limit"
_ROWS = {
    "sqlite": f"""
SELECT {{columns}} FROM (
    SELECT x.id FROM r CROSS JOIN tool_executions x WHERE {{where}} {_LATEST_FIRST}
) latest CROSS JOIN tool_executions x ON x.id = latest.id {_LATEST_FIRST}""",
    "postgresql": f"""
SELECT {{columns}} FROM r CROSS JOIN LATERAL (
    SELECT x.* FROM tool_executions x WHERE {{where}} {_LATEST_FIRST}
) x {_LATEST_FIRST}""",
}


# What another program stored may be of any length and, on SQLite, no text at all.
_SHORT = {
    "sqlite": "CASE typeof({0}) WHEN 'text' THEN substr({0}, 1, {most}) WHEN 'blob' THEN '<blob>' END AS {1}",
    "postgresql": "left({0}, {most}) AS {1}",
}
SHOWN = 500
"""Characters of each text of a failure that are read."""


def _rows_sql(dialect: str, columns: Sequence[sa.Column[Any]], *, failed: bool) -> sa.TextualSelect:
    """Return the statement that reads the raw rows of what is counted, the latest first."""
    where = (
        f"{_IN_RANGE} AND {_raw_filter(dialect)} {f'AND {_FAILED[dialect]}' if failed else ''} "
        f"AND NOT ({_retried(dialect)}) AND NOT EXISTS (SELECT 1 FROM superseded_executions s WHERE s.id = x.id) "
        "AND x.id NOT IN (SELECT id FROM superseding)"
    )
    short = [t.c.execution_id, t.c.error_type, t.c.error, t.c.parameters] if failed else []
    read = ", ".join(
        _SHORT[dialect].format(f"x.{column.name}", column.name, most=SHOWN)
        if column in set(short)
        else f"x.{column.name}"
        for column in columns
    )
    rows, given = _ROWS[dialect].format(columns=read, where=where), _given_sql(dialect, "ranges", _RANGE)
    return _text_of(f"WITH r AS MATERIALIZED ({given}), {NEWLY_SUPERSEDED[dialect]} {rows}").columns(*columns)


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one kind of database."""

    count: sa.TextClause
    count_collapsed: sa.TextClause
    outcomes: sa.TextualSelect
    failures: sa.TextualSelect


SQL = {
    dialect: Statements(
        _text_of(counting_sql(dialect, None)),
        _text_of(counting_sql(dialect, None) + collapsed_sql(dialect, None)),
        _rows_sql(dialect, _OUTCOME, failed=False),
        _rows_sql(dialect, _FAILURE, failed=True),
    )
    for dialect in ("sqlite", "postgresql")
}
