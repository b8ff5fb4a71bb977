"""What the first hour of a window holds, remembered for as long as nothing is added to it.

A window that begins within an hour, as every one since a deployment does, cannot take that hour's rollup: it would read
minutes, and rows within the first one, at each check again, and the more of them the busier the tool. They hardly ever
change once the hour is over. The mark that they are remembered with grows whenever they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollguard.store.rollups.intervals import Head, head_of
from rollguard.store.rollups.selection import Stretch

MARK = -2  # in the place of a bucket: the row holds the mark
_WORTH_IT = 50  # executions; fewer are as quickly read
_MOST = 2_000  # that are remembered


@dataclass(frozen=True, slots=True)
class Known:
    """Rows as the counting statement gives them, and the mark that they were read with."""

    mark: int
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of a stretch of the window of that number, and what is known of it."""

    number: int
    stretch: Stretch
    head: Head
    known: Known | None


class Heads:
    """What this process remembers."""

    def __init__(self) -> None:
        self._known: dict[Stretch, Known] = {}

    def ask(self, number: int, stretch: Stretch) -> Asked | None:
        """The head of a stretch that is counted again and again, if it has one."""
        head = head_of(stretch.start, stretch.end) if stretch.again else None
        if head is None:
            return None
        first = replace(stretch, end=head.closing)
        return Asked(number, first, head, self._known.get(first))

    def answer(self, asked: Asked, rows: list[Any]) -> Sequence[Any]:
        """The rows of a head: those just read, or those remembered where nothing was read since nothing changed."""
        marks = [row[2] for row in rows if row[1] == MARK]
        if not marks and asked.known is not None:
            return asked.known.rows
        read = [row for row in rows if row[1] != MARK]
        if sum(row[2] for row in read) >= _WORTH_IT:
            if len(self._known) >= _MOST:
                self._known = {}
            self._known[asked.stretch] = Known(int(marks[0]), read)
        return read
