"""Counts minute by minute or hour by hour, from the rollups: what a past deployment showed at any moment of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from rollguard.judge import Window
from rollguard.store.database.engine import Database
from rollguard.store.rollups.counting import Codes, Keys, collapsed_sql, counting_sql
from rollguard.store.rollups.intervals import HOUR, MINUTE
from rollguard.store.rollups.query import ranges_of, window_of
from rollguard.store.rollups.selection import Selection

Series = list[tuple[datetime, Window]]  # (when the minute or hour begins, its counts), the oldest first

_ALL = "CAST('1970-01-01 00\\:00\\:00' AS {})"  # one key for all
_KEYS = {
    ("sqlite", MINUTE): Keys("x.start_at", *(["substr(x.executed_at, 1, 16) || '\\:00.000000'"] * 2)),
    ("sqlite", HOUR): Keys(
        "substr(x.start_at, 1, 13) || '\\:00\\:00.000000'",
        *(["substr(x.executed_at, 1, 13) || '\\:00\\:00.000000'"] * 2),
    ),
    ("sqlite", None): Keys(*[_ALL.format("TEXT")] * 3),
    ("postgresql", MINUTE): Keys("x.start_at", "date_trunc('minute', x.executed_at, 'UTC')", "x.minute"),
    ("postgresql", HOUR): Keys(
        *(f"date_trunc('hour', {time}, 'UTC')" for time in ("x.start_at", "x.executed_at", "x.minute"))
    ),
    ("postgresql", None): Keys(*[_ALL.format("timestamptz")] * 3),
}


class Minutes:
    """Counts of the rollups, minute by minute or hour by hour."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def totals(self, windows: Sequence[Sequence[Selection]]) -> list[Window]:
        """Return the counts of each window without its durations, which are quicker to read."""
        return [series[0][1] if series else Window() for series in self.of(windows, step=None)]

    def of(
        self, windows: Sequence[Sequence[Selection]], *, durations: bool = False, step: int | None = MINUTE
    ) -> list[Series]:
        """Return the minutes or hours of each window that have executions, of all windows by one statement.

        Args:
            step: `MINUTE` or `HOUR`; None counts each window as a whole.
            durations: True reads the durations too, which takes longer; False leaves them empty.
        """
        collapse = any(selection.collapse for selections in windows for selection in selections)
        sql = _statement(self._database.dialect, step, durations=durations, collapse=collapse)
        ranges = [
            time_range
            for number, selections in enumerate(windows)
            for selection in selections
            for time_range in ranges_of(number, selection, widest=step or HOUR)
        ]
        found: list[dict[Any, dict[int, list[float]]]] = [defaultdict(lambda: defaultdict(_zeros)) for _ in windows]
        with self._database.read() as connection:
            for number, start, code, executions, successes, duration in connection.execute(
                sql, {"ranges": json.dumps(ranges)}
            ):
                counts = found[number][start][int(code)]
                counts[0] += int(executions)
                counts[1] += int(successes)
                counts[2] += float(duration)
        return [
            [(_moment(start), _window(buckets, durations=durations)) for start, buckets in sorted(minutes.items())]
            for minutes in found
        ]


@cache
def _statement(dialect: str, step: int | None, *, durations: bool, collapse: bool) -> sa.TextClause:
    keys = _KEYS[dialect, step]
    sql = counting_sql(dialect, keys, durations=durations)
    return sa.text(" ".join((sql + (collapsed_sql(dialect, keys, durations=durations) if collapse else "")).split()))


def _zeros() -> list[float]:
    return [0, 0, 0.0]


def _window(codes: dict[int, list[float]], *, durations: bool) -> Window:
    added = Codes()
    for code, (executions, succeeded, duration_sum) in codes.items():
        added.add(code, int(executions), int(succeeded), duration_sum)
    window = window_of(added)
    return window if durations else Window(window.total, window.successes, timed_out=window.timed_out)


def _moment(start: Any) -> datetime:
    return start.astimezone(UTC) if isinstance(start, datetime) else datetime.fromisoformat(start).replace(tzinfo=UTC)
