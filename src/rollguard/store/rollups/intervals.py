"""An interval of time as whole hours, whole minutes and, at its ends, parts of a minute. Pure."""

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
class Interval:
    """[start, end), read from rollups of `width` seconds, or from raw rows if `width` is `RAW`."""

    width: int
    start: datetime
    end: datetime


def intervals(start: datetime, end: datetime, *, widest: int = HOUR) -> Iterator[Interval]:
    """Split [start, end) into the fewest intervals, none wider than `widest`, without a gap or an overlap.

    Times are UTC, so every minute has 60 seconds and every hour 60 minutes.
    """
    if start >= end:
        return
    first, last = _ceil(start, _MINUTE), _floor(end, _MINUTE)
    if first > last:
        yield Interval(RAW, start, end)
        return
    if start < first:
        yield Interval(RAW, start, first)
    first_hour, last_hour = _ceil(first, _HOUR), _floor(last, _HOUR)
    if first_hour >= last_hour or widest == MINUTE:
        yield from _rolled(MINUTE, first, last)
    else:
        yield from _rolled(MINUTE, first, first_hour)
        yield from _rolled(HOUR, first_hour, last_hour)
        yield from _rolled(MINUTE, last_hour, last)
    if last < end:
        yield Interval(RAW, last, end)


@dataclass(frozen=True, slots=True)
class LastHour:
    """The part of an interval that lies in the hour it ends in.

    If the hour has no executions after the interval, as in a window that ends now, its rollup is all there is to read.

    Attributes:
        start: the full hour.
        minute, next_minute: the full minutes around the end; both are the end if it is a full minute.
        next_hour: the next full hour.
    """

    start: datetime
    end: datetime
    minute: datetime
    next_minute: datetime
    next_hour: datetime


def split_last_hour(start: datetime, end: datetime) -> tuple[list[Interval], LastHour | None]:
    """Split [start, end) into intervals up to its last full hour, and the rest; None if it begins after that hour."""
    hour = _floor(end, _HOUR)
    if not start <= hour < end:
        return list(intervals(start, end)), None
    return list(intervals(start, hour)), LastHour(hour, end, _floor(end, _MINUTE), _ceil(end, _MINUTE), hour + _HOUR)


@dataclass(frozen=True, slots=True)
class FirstHour:
    """The part of an interval that lies in the hour it begins in.

    Attributes:
        hour: the full hour before the beginning.
        minute, next_minute: the full minutes around the beginning; both are the beginning if it is a full minute.
        next_hour: the first full hour.
    """

    hour: datetime
    minute: datetime
    next_minute: datetime
    next_hour: datetime


def first_hour_of(start: datetime, end: datetime) -> FirstHour | None:
    """Return the first hour of [start, end); None unless it begins inside an hour and ends after it."""
    hour, next_hour = _floor(start, _HOUR), _ceil(start, _HOUR)
    if not hour < start < next_hour < end:
        return None
    return FirstHour(hour, _floor(start, _MINUTE), _ceil(start, _MINUTE), next_hour)


def around(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Extend [start, end) to the whole minutes that it begins and ends in."""
    return _floor(start, _MINUTE), _ceil(end, _MINUTE)


def _rolled(width: int, start: datetime, end: datetime) -> Iterator[Interval]:
    if start < end:
        yield Interval(width, start, end)


def _floor(moment: datetime, step: timedelta) -> datetime:
    if moment.second or moment.microsecond or (step is _HOUR and moment.minute):
        return moment.replace(minute=moment.minute if step is _MINUTE else 0, second=0, microsecond=0)
    return moment


def _ceil(moment: datetime, step: timedelta) -> datetime:
    floor = _floor(moment, step)
    return floor if floor == moment else floor + step
