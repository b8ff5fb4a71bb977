"""Know the calls that began and have not ended: how long they run, and which have outlived their time limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rollguard.judge import TIMED_OUT
from rollguard.model.formatting import seconds
from rollguard.model.in_flight import CallInFlight
from rollguard.model.split import Drawn, Ran, version_of

if TYPE_CHECKING:
    from rollguard.record.call import Subject

Given = str | dict[str, Any] | None
"""The parameters of a call: JSON, or the call's own dict if it can be encoded later; None if nothing is recorded."""

Flight = tuple["Subject", Ran, float, Given, str | None, str | None]
"""A call under way: subject, version, start since 1970, parameters, request, tags."""

PUBLISHED_AFTER = 5.0  # seconds; a shorter call is over before anybody looks
_SAY_AGAIN = 60.0  # seconds between two signs of life of the same calls


class InFlight:
    """The calls of one recorder that have not ended, by their start on the clock of durations, in seconds.

    No two starts are equal: to read the clock takes longer than its step. A call puts itself in and takes itself out,
    each in one step. What takes it out records it: its end, or the recorder's thread once it has outlived its limit.
    So each call is recorded once.

    Attributes:
        calls: what runs; written directly, because this is a part of every call.
    """

    def __init__(self) -> None:
        self.calls: dict[float, Flight] = {}
        self._overdue: dict[float, Flight] = {}
        self._published: frozenset[float] = frozenset()
        self._publish_at = 0.0
        self._failed = False

    @property
    def published(self) -> bool:
        """Return whether the store lists calls of this process."""
        return bool(self._published)

    def take_overdue(self, clock: float) -> Iterator[tuple[float, Flight]]:
        """Take out and yield the calls that run longer than their tool's `timeout_seconds`; they are still shown."""
        for started, flight in list(self.calls.items()):
            limit = flight[0].timeout_seconds
            if limit is not None and clock - started > limit and self.calls.pop(started, None) is not None:
                self._overdue[started] = flight
                yield started, flight

    def ended_overdue(self, started: float) -> bool:
        """Forget a call that was taken out, because it ended after all. Return whether it was."""
        return self._overdue.pop(started, None) is not None

    def next_due(self, clock: float) -> float:
        """Return the seconds until a call outlives its limit or is to be published; infinite if none will."""
        due = [
            started + flight[0].timeout_seconds
            for started, flight in list(self.calls.items())
            if flight[0].timeout_seconds is not None
        ]
        due += [started + PUBLISHED_AFTER for started in self._all() if clock - started < PUBLISHED_AFTER]
        due += [self._publish_at] if self._published else []
        return max(0.01, min(due, default=math.inf) - clock)

    def shown(self, clock: float, *, longer_than: float = 0.0) -> list[CallInFlight]:
        """Return the calls that run at least so many seconds, the oldest first."""
        return [
            CallInFlight(
                flight[0].name,
                version_of(flight[1]),
                datetime.fromtimestamp(flight[2], UTC),
                request_id=flight[4],
                drawn=flight[1] if isinstance(flight[1], Drawn) else None,
            )
            for started, flight in sorted(self._all().items(), key=lambda item: item[0])
            if clock - started >= longer_than
        ]

    def to_publish(self, clock: float) -> list[CallInFlight] | None:
        """Return the long calls to write into the store; None if it has them already."""
        if not self.calls and not self._overdue and not self._published:
            return None
        long = frozenset(started for started in self._all() if clock - started >= PUBLISHED_AFTER)
        if clock < self._publish_at and (long == self._published or self._failed):
            return None
        if not long and not self._published:
            return None
        self._failed = False
        self._published, self._publish_at = long, clock + _SAY_AGAIN
        return self.shown(clock, longer_than=PUBLISHED_AFTER)

    def publish_again(self, clock: float) -> None:
        """Publish after a while, because the store could not be written."""
        self._failed, self._publish_at = True, clock + PUBLISHED_AFTER

    def _all(self) -> dict[float, Flight]:
        return dict([*list(self.calls.items()), *list(self._overdue.items())])


def outlived(started: float, flight: Flight, clock: float) -> tuple[Any, ...]:
    """Return the note of a call that still runs although its limit is over. Its end is not recorded again."""
    subject, version, began, given, request, tags = flight
    error = f"it still runs after {seconds(clock - started)}; timeout_seconds is {subject.timeout_seconds:g}"
    return (subject.name, False, None, error, TIMED_OUT, given, None, began, version, None, request, tags, None)
