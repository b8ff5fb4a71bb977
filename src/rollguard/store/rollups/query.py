"""Exact counts of windows, at a cost that does not grow with the history.

A count adds up three sources, and no execution is in two of them: rollups of whole hours and minutes; what is counted
and not aggregated yet; and raw rows for the parts of a minute at the ends of an interval. Executions whose request was
tried again are in these sources, and are subtracted. Counting writes nothing; see `rollguard.store.rollups.refresh`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice, starmap
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import Hangs, Window
from rollguard.judge.histogram import NO_DURATION
from rollguard.model.execution import Failure
from rollguard.store.database.engine import Database
from rollguard.store.database.types import sqlite_text
from rollguard.store.rollups.counting import FIRST_HOUR, LAST_HOUR, SQL, Codes
from rollguard.store.rollups.first_hour_cache import FirstHourCache, FirstHourRead
from rollguard.store.rollups.intervals import HOUR, RAW, intervals, split_last_hour
from rollguard.store.rollups.selection import Selection

_CHUNK = 1_000  # windows counted by one statement


class Rollups:
    """The tables `tool_execution_rollups` and `tool_execution_deltas`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = SQL[database.dialect]
        # Built once, and short: SQLAlchemy and psycopg parse a new statement, and psycopg parses a long one each time.
        self._counting = {False: sql.count, True: sql.count_collapsed}
        self._outcomes, self._failures = sql.outcomes, sql.failures
        self._first_hours = FirstHourCache()

    def count(self, windows: Sequence[Sequence[Selection]]) -> list[Window]:
        """Count the executions of each window, which is the sum of its selections, many by one statement."""
        with self._database.read() as connection:
            return self._count(connection, windows)

    def _count(self, connection: Connection, windows: Sequence[Sequence[Selection]]) -> list[Window]:
        counted: list[Window] = []
        numbered = iter(enumerate(windows))
        while chunk := list(islice(numbered, _CHUNK)):
            ranges: list[list[Any]] = []
            reads: list[FirstHourRead] = []
            for number, selections in chunk:
                for selection in selections:
                    read = self._first_hours.plan(number, selection)
                    reads += [read] if read else []
                    ranges += ranges_of(number, selection._replace(start=read.hour.next_hour) if read else selection)
            collapsing = any(selection.collapse for _number, selections in chunk for selection in selections)
            first_hours = list(starmap(_first_hour_range, enumerate(reads, 1)))
            given = {"ranges": json.dumps(ranges), "first_hours": json.dumps(first_hours)}
            rows: dict[int, list[Any]] = defaultdict(list)
            for row in connection.execute(self._counting[collapsing], given).fetchall():
                rows[row[0]].append(row)
            for place, read in enumerate(reads, 1):
                rows[read.number] += self._first_hours.resolve(read, rows.pop(-place, []))
            counted += [_window(rows[number]) for number, _selections in chunk]
        return counted

    def outcomes(
        self, selections: Sequence[Selection], limit: int, hangs: Hangs | None = None
    ) -> list[tuple[datetime, bool, str | None]]:
        """Return (executed_at, success, error_type) of the latest executions that count, the latest first.

        Args:
            hangs: which calls that hung are failures; without it none is.
        """
        rows = self._rows(self._outcomes, selections, limit)
        counts = Hangs.none().counts if hangs is None else hangs.counts
        return [(row[0], row[1], row[2]) for row in rows if row[1] or counts(row[2], row[3])]

    def failures(self, selections: Sequence[Selection], limit: int, *, within: float | None = None) -> list[Failure]:
        """Return the latest failures that count and whose rows are still stored, the latest first; texts are cut.

        Args:
            within: seconds that it may take.
        """
        return [Failure(*row) for row in self._rows(self._failures, selections, limit, within)]

    def _rows(
        self, rows: sa.TextualSelect, selections: Sequence[Selection], limit: int, within: float | None = None
    ) -> Sequence[Any]:
        ranges = [_range(0, selection, RAW, *_texts(selection.start, selection.end)) for selection in selections]
        with self._database.read(within=within) as connection:
            return connection.execute(rows, {"ranges": json.dumps(ranges), "limit": limit}).fetchall()


def ranges_of(number: int, selection: Selection, *, widest: int = HOUR) -> Iterator[list[Any]]:
    """Split a selection of the window `number` into the ranges that the statements take."""
    for width, *edges in _split(selection.start, selection.end, widest):
        yield _range(number, selection, width, *edges)


@lru_cache(maxsize=4_096)  # the windows of many sessions end at the same moment, and begin with the same full hour
def _split(start: datetime, end: datetime, widest: int) -> list[tuple[Any, ...]]:
    if widest == HOUR:
        found, last = split_last_hour(start, end)
    else:
        found, last = list(intervals(start, end, widest=widest)), None
    parts: list[tuple[Any, ...]] = [(interval.width, *_texts(interval.start, interval.end)) for interval in found]
    if last is not None:
        parts.append((LAST_HOUR, *_texts(last.start, last.end, last.minute, last.next_minute, last.next_hour)))
    return parts


def _range(number: int, selection: Selection, width: int, start: str, end: str, *edges: str) -> list[Any]:
    one, several = selection.but[:1], selection.but if len(selection.but) > 1 else ()
    but = [None, list(several)] if several else [one[0] if one else None, None]
    which = [selection.only, *but, list(selection.leave_out) or None, selection.collapse]
    return [number, selection.tool_name, width, start, end, *which, *edges]


def _first_hour_range(place: int, read: FirstHourRead) -> list[Any]:
    hour, selection = read.hour, read.selection
    cached = None if read.cached is None else read.cached.hour_total
    edges = _texts(selection.start, selection.end, hour.hour, hour.minute, hour.next_minute)
    return [*_range(read.number, selection, FIRST_HOUR, *edges), -place, cached]


def _texts(*moments: datetime) -> list[str]:
    """Return moments as SQLite stores them. PostgreSQL reads them too, since our sessions there are in UTC."""
    return [sqlite_text(moment if moment.tzinfo is UTC else moment.astimezone(UTC)) for moment in moments]


def _window(rows: Sequence[Any]) -> Window:
    codes = Codes()
    for _number, code, executions, succeeded, duration_sum in rows:
        codes.add(int(code), int(executions), int(succeeded), float(duration_sum))
    return window_of(codes)


def window_of(codes: Codes) -> Window:
    """Return the window of the rows that were added up."""
    histogram, given_up, scores = (
        tuple((bucket, count) for bucket, count in sorted(counts.items()) if count > 0)
        for counts in (*codes.kinds[:2], codes.scores)
    )
    total = sum(count for _bucket, count in histogram)
    timed = total - max(0, codes.kinds[0].get(NO_DURATION, 0))
    return Window(
        total,
        min(max(0, codes.successes), total),
        timed,
        max(0.0, codes.duration_ms) if timed else 0.0,
        histogram,
        given_up,
        max(0, sum(codes.kinds[2].values())),
        scores,
    )
