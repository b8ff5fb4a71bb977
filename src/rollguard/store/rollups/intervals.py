"""A stretch of time as whole hours, whole minutes and, at its ends, what lies inside a minute. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTE = 60
HOUR = 3600
RAW = 0
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a stretch: [start, end) in rollups of `width` seconds, or in raw rows where `width` is `RAW`."""

    width: int
    start: datetime
    end: datetime


def spans(start: datetime, end: datetime, *, widest: int = HOUR) -> Iterator[Span]:
    """[start, end) in the fewest spans, none wider than `widest`: they cover it exactly, and none overlaps another.

    Times are UTC, so every minute has 60 seconds and every hour 60 minutes.
    """
    if start >= end:
        return
    first, last = _ceil(start, _MINUTE), _floor(end, _MINUTE)
    if first > last:
        yield Span(RAW, start, end)
        return
    if start < first:
        yield Span(RAW, start, first)
    first_hour, last_hour = _ceil(first, _HOUR), _floor(last, _HOUR)
    if first_hour >= last_hour or widest == MINUTE:
        yield from _rolled(MINUTE, first, last)
    else:
        yield from _rolled(MINUTE, first, first_hour)
        yield from _rolled(HOUR, first_hour, last_hour)
        yield from _rolled(MINUTE, last_hour, last)
    if last < end:
        yield Span(RAW, last, end)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a stretch, from the last full hour on.

    Where nothing came afterwards in that hour, as in a window that ends now, the hour's rollup is all there is to read.

    Attributes:
        start: the full hour.
        minute, following: the full minutes around the end; the end itself where it is one.
        closing: the next full hour.
    """

    start: datetime
    end: datetime
    minute: datetime
    following: datetime
    closing: datetime


def spans_and_tail(start: datetime, end: datetime) -> tuple[list[Span], Tail | None]:
    """[start, end) in spans, and the rest of it since the last full hour, unless it begins later."""
    hour = _floor(end, _HOUR)
    if not start <= hour < end:
        return list(spans(start, end)), None
    return list(spans(start, hour)), Tail(hour, end, _floor(end, _MINUTE), _ceil(end, _MINUTE), hour + _HOUR)


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a stretch, up to the first full hour.

    Attributes:
        hour: the full hour before.
        minute, following: the full minutes around the beginning; the beginning itself where it is one.
        closing: the first full hour.
    """

    hour: datetime
    minute: datetime
    following: datetime
    closing: datetime


def head_of(start: datetime, end: datetime) -> Head | None:
    """The beginning of [start, end), where that begins within an hour and reaches beyond it."""
    hour, closing = _floor(start, _HOUR), _ceil(start, _HOUR)
    if not hour < start < closing < end:
        return None
    return Head(hour, _floor(start, _MINUTE), _ceil(start, _MINUTE), closing)


def around(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """[start, end) with the whole minutes that it begins and ends in."""
    return _floor(start, _MINUTE), _ceil(end, _MINUTE)


def _rolled(width: int, start: datetime, end: datetime) -> Iterator[Span]:
    if start < end:
        yield Span(width, start, end)


def _floor(moment: datetime, step: timedelta) -> datetime:
    return moment.replace(minute=moment.minute if step is _MINUTE else 0, second=0, microsecond=0)


def _ceil(moment: datetime, step: timedelta) -> datetime:
    floor = _floor(moment, step)
    return floor if floor == moment else floor + step
