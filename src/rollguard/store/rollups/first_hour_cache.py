"""A cache of what the first hour of a window holds.

A window that begins inside an hour, as each one since a deployment does, cannot use that hour's rollup. Without the
cache each check would read the hour's minutes and the rows of its first minute again; a busy tool has many of them.
They hardly change once the hour is over. An entry is valid while the hour's rollup counts as many executions, and as
many amendments of them, as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rollguard.store.rollups.intervals import FirstHour, first_hour_of
from rollguard.store.rollups.selection import Selection

HOUR_TOTAL = -2  # in the place of a bucket: the row holds the number of executions and amendments in the hour
_CACHED_FROM = 50  # executions; fewer are as quickly read
_CAPACITY = 2_000  # entries


@dataclass(frozen=True, slots=True)
class CachedRows:
    """Rows of the counting statement, and how many executions and amendments their hour had when they were read."""

    hour_total: int
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class FirstHourRead:
    """A read of the first hour of a selection.

    Attributes:
        number: the window that the selection is a part of.
        selection: the selection up to the end of that hour.
        cached: its entry in the cache.
    """

    number: int
    selection: Selection
    hour: FirstHour
    cached: CachedRows | None


class FirstHourCache:
    """The first hours that this process has read."""

    def __init__(self) -> None:
        self._cached: dict[Selection, CachedRows] = {}

    def plan(self, number: int, selection: Selection) -> FirstHourRead | None:
        """Return the read of a selection's first hour; None if it has none or is not counted at each check."""
        hour = first_hour_of(selection.start, selection.end) if selection.repeated else None
        if hour is None:
            return None
        first = selection._replace(end=hour.next_hour)
        return FirstHourRead(number, first, hour, self._cached.get(first))

    def resolve(self, read: FirstHourRead, rows: list[Any]) -> Sequence[Any]:
        """Return the rows of a first hour: those just read, or the cached ones if the statement found no change."""
        totals = [row[2] for row in rows if row[1] == HOUR_TOTAL]
        if not totals and read.cached is not None:
            return read.cached.rows
        counted = [row for row in rows if row[1] != HOUR_TOTAL]
        if sum(row[2] for row in counted) >= _CACHED_FROM:
            if len(self._cached) >= _CAPACITY:
                self._cached = {}
            self._cached[read.selection] = CachedRows(int(totals[0]), counted)
        return counted
