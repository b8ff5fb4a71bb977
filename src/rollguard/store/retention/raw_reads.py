"""Which raw rows of a tool an active session still reads, and so which may be removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from rollguard.model.session import Session
from rollguard.store.rollups.intervals import RAW, around, intervals
from rollguard.store.rollups.selection import baseline_of, current_of

TimeRange = tuple[datetime, datetime]  # [start, end)


def raw_reads_of(session: Session) -> Iterator[TimeRange]:
    """Return the time ranges whose raw rows an active session reads, because no rollup holds the same.

    They are the minutes that its windows begin and end in and, until its baseline is stored, all of the baseline.
    Such a minute is kept whole: a row after the end of a window shows that the minute's rollup must not be read.
    Rows of every version are kept; the few that no count reads are removed when the session ends.
    """
    if session.baseline is None:
        yield from (around(selection.start, selection.end) for selection in baseline_of(session, session.window_end))
    for selection in current_of(session, session.last_end):
        for interval in intervals(selection.start, selection.end):
            if interval.width == RAW:
                yield around(interval.start, interval.end)


def removable_before(cutoff: datetime, kept: Iterable[TimeRange]) -> Iterator[tuple[datetime | None, datetime]]:
    """Return the time ranges before `cutoff` that are outside `kept`, in order. None as a start is the first row."""
    begin: datetime | None = None
    for start, end in sorted(kept):
        if start >= cutoff:
            break
        if start < end:
            if begin is None or begin < start:
                yield begin, start
            begin = end if begin is None else max(begin, end)
    if begin is None or begin < cutoff:
        yield begin, cutoff
