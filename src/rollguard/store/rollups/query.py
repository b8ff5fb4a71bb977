"""Rollups: what a stretch of time holds, exactly, at a cost that does not grow with the history.

Three sources are added up, and no execution is in two of them: rollups of whole hours and minutes; what was counted and
is not folded into them yet; and, for the parts of a minute at the ends of the stretch, the raw rows. Executions whose
request was tried again later are in these, and are taken off.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice, starmap
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import Window
from rollguard.judge.histogram import NO_DURATION
from rollguard.model.execution import Failure
from rollguard.store.database.engine import Database
from rollguard.store.database.types import sqlite_text
from rollguard.store.rollups.counting import HEAD, SQL, TAIL
from rollguard.store.rollups.heads import Asked, Heads
from rollguard.store.rollups.intervals import HOUR, RAW, spans, spans_and_tail
from rollguard.store.rollups.refresh import WAITING, WORTH_FOLDING, fold
from rollguard.store.rollups.selection import Stretch

_CHUNK = 500  # windows counted by one statement


class Rollups:
    """The tables `tool_execution_rollups` and `tool_execution_deltas`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = SQL[database.dialect]
        # Made once, and short: SQLAlchemy and psycopg read a new statement through, and psycopg a long one each time.
        self._counting = {False: sql.count, True: sql.count_collapsed}
        self._outcomes, self._failures = sql.outcomes, sql.failures
        self._heads = Heads()
        self._waiting = sa.text(WAITING[database.dialect])

    def count(self, windows: Sequence[Sequence[Stretch]], *, worth: int = WORTH_FOLDING) -> list[Window]:
        """Each window's executions, a window being the sum of its stretches; a chunk of windows by one statement.

        Args:
            worth: rows that wait to be folded, from which on they are folded first: reading them would cost more.
        """
        with self._database.read() as connection:
            if not self._worth_folding(connection, worth):
                return self._count(connection, windows)
        self._fold()
        with self._database.read() as connection:
            return self._count(connection, windows)

    def _count(self, connection: Connection, windows: Sequence[Sequence[Stretch]]) -> list[Window]:
        counted: list[Window] = []
        numbered = iter(enumerate(windows))
        while chunk := list(islice(numbered, _CHUNK)):
            ranges: list[list[Any]] = []
            asked: list[Asked] = []
            for number, stretch in ((number, stretch) for number, stretches in chunk for stretch in stretches):
                head = self._heads.ask(number, stretch)
                asked += [head] if head else []
                ranges += ranges_of(number, replace(stretch, start=head.head.closing) if head else stretch)
            collapsing = any(stretch.collapse for _number, stretches in chunk for stretch in stretches)
            given = {"ranges": json.dumps(ranges), "heads": json.dumps(list(starmap(_given_head, enumerate(asked, 1))))}
            rows: dict[int, list[Any]] = defaultdict(list)
            for row in connection.execute(self._counting[collapsing], given).fetchall():
                rows[row[0]].append(row)
            for place, head in enumerate(asked, 1):
                rows[head.number] += self._heads.answer(head, rows.pop(-place, []))
            counted += [_window(rows[number]) for number, _stretches in chunk]
        return counted

    def outcomes(self, stretches: Sequence[Stretch], limit: int) -> list[tuple[datetime, bool, str | None]]:
        """(executed_at, success, error_type) of the latest executions that are counted, the latest first."""
        return [(row[0], row[1], row[2]) for row in self._rows(self._outcomes, stretches, limit)]

    def failures(self, stretches: Sequence[Stretch], limit: int) -> list[Failure]:
        """The latest failures that are counted, the latest first, as far as their rows are kept."""
        return [Failure(*row) for row in self._rows(self._failures, stretches, limit)]

    def _rows(self, rows: sa.TextualSelect, stretches: Sequence[Stretch], limit: int) -> Sequence[Any]:
        self.fold_if_worth_it()
        ranges = [_given(0, stretch, RAW, stretch.start, stretch.end) for stretch in stretches]
        with self._database.read() as connection:
            return connection.execute(rows, {"ranges": json.dumps(ranges), "limit": limit}).fetchall()

    def fold_if_worth_it(self, worth: int = WORTH_FOLDING) -> None:
        """Fold what is counted and not folded yet, where there is so much of it that reading it costs more.

        Also where requests are to be looked through: what was tried again is known only then.
        """
        with self._database.read() as connection:
            worth_it = self._worth_folding(connection, worth)
        if worth_it:
            self._fold()

    def _worth_folding(self, connection: Connection, worth: int) -> bool:
        waiting, requests = connection.execute(self._waiting).one()
        return bool((waiting or 0) >= worth or requests)

    def _fold(self) -> None:
        with self._database.write(durable=False) as connection:
            fold(connection, self._database.dialect)


def ranges_of(number: int, stretch: Stretch, *, widest: int = HOUR) -> Iterator[list[Any]]:
    """A stretch of the window of that number, as the statements take it."""
    if widest == HOUR:
        found, tail = spans_and_tail(stretch.start, stretch.end)
    else:
        found, tail = list(spans(stretch.start, stretch.end, widest=widest)), None
    for span in found:
        yield _given(number, stretch, span.width, span.start, span.end)
    if tail is not None:
        edges = [_text(edge) for edge in (tail.minute, tail.following, tail.closing)]
        yield [*_given(number, stretch, TAIL, tail.start, tail.end), *edges]


def _given(number: int, stretch: Stretch, width: int, start: datetime, end: datetime) -> list[Any]:
    which = [stretch.only, stretch.but, list(stretch.leave_out) or None, stretch.collapse]
    return [number, stretch.tool_name, width, _text(start), _text(end), *which]


def _given_head(place: int, asked: Asked) -> list[Any]:
    head, stretch = asked.head, asked.stretch
    edges = [_text(edge) for edge in (head.hour, head.minute, head.following)]
    known = None if asked.known is None else asked.known.mark
    return [*_given(asked.number, stretch, HEAD, stretch.start, stretch.end), *edges, -place, known]


def _text(moment: datetime) -> str:
    """A moment as SQLite stores it, which PostgreSQL reads as well (our sessions there are in UTC)."""
    return sqlite_text(moment if moment.tzinfo is UTC else moment.astimezone(UTC))


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
