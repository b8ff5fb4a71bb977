"""Which raw rows of a tool a session still reads, and so which may be removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from rollguard.model.session import Session
from rollguard.store.rollups.intervals import RAW, around, spans
from rollguard.store.rollups.selection import baseline_of, current_of

Interval = tuple[datetime, datetime]  # [start, end)


def needed_by(session: Session) -> Iterator[Interval]:
    """The times whose raw rows an active session reads: rollups cannot stand for them.

    They are the minutes that its windows begin and end in and, as long as its baseline is not kept, the whole of that.
    Such a minute is kept whole: what is beyond the end of a window in it tells whether its rollup may be read. Rows of
    every version count as needed; the few that are kept in vain are removed when the session ends.
    """
    if session.baseline is None:
        yield from (around(stretch.start, stretch.end) for stretch in baseline_of(session, session.window_end))
    for stretch in current_of(session, session.last_end):
        yield from (around(span.start, span.end) for span in spans(stretch.start, stretch.end) if span.width == RAW)


def free_before(cutoff: datetime, needed: Iterable[Interval]) -> Iterator[tuple[datetime | None, datetime]]:
    """What lies before `cutoff` and is not needed, as intervals in order. The first begins at None: whenever."""
    begin: datetime | None = None
    for start, end in sorted(needed):
        if start >= cutoff:
            break
        if start < end:
            if begin is None or begin < start:
                yield begin, start
            begin = end if begin is None else max(begin, end)
    if begin is None or begin < cutoff:
        yield begin, cutoff
