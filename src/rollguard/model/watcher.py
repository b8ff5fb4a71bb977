"""Watchers: the processes that check the sessions, and whether there is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SILENT_AFTER = timedelta(seconds=60)
"""The time without a sign of life after which a watcher counts as gone; a living one gives a sign every 10 s."""


class WatcherState(StrEnum):
    """What a watcher does, as its row shows."""

    WATCHING = "watching"
    BEHIND = "behind"
    SILENT = "silent"


class Coverage(StrEnum):
    """Who checks the active sessions."""

    NOTHING_TO_WATCH = "nothing_to_watch"
    WATCHED = "watched"
    SINGLE_CYCLES = "single_cycles"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Watcher:
    """A running loop, by its row of `watchers`. Every time is one of the database's clock.

    Attributes:
        watcher_id: unique for each run of a loop.
        host: its machine.
        pid: its process.
        started_at: when it began.
        seen_at: its latest sign of life.
        checked_at: when it last finished a cycle over the sessions; None before the first.
        interval_seconds: time between the starts of two cycles.
        reported_at: when others notified people that it is silent or behind; None while it watches.
        as_of: when the row was read.
    """

    watcher_id: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    checked_at: datetime | None
    interval_seconds: float
    reported_at: datetime | None
    as_of: datetime

    @property
    def silent_for(self) -> timedelta:
        """Return the time since its latest sign of life."""
        return max(timedelta(), self.as_of - self.seen_at)

    @property
    def behind(self) -> timedelta:
        """Return how much later than planned its next cycle ends."""
        since = self.as_of - (self.checked_at or self.started_at)
        return max(timedelta(), since - timedelta(seconds=self.interval_seconds))

    @property
    def state(self) -> WatcherState:
        """Return what it does. A cycle may take as long as the interval, or a minute."""
        if self.silent_for > SILENT_AFTER:
            return WatcherState.SILENT
        late = self.behind > max(SILENT_AFTER, timedelta(seconds=self.interval_seconds))
        return WatcherState.BEHIND if late else WatcherState.WATCHING


@dataclass(frozen=True, slots=True)
class Watching:
    """Who checks the active sessions of a database.

    Attributes:
        watchers: the running loops, and those that ended without saying so, since a day ago at most.
        active: number of active sessions.
        last_check: when any session was last checked, by a watcher, a single cycle or a person.
        as_of: the database's time.
    """

    watchers: tuple[Watcher, ...]
    active: int
    last_check: datetime | None
    as_of: datetime

    def coverage(self, interval: timedelta) -> Coverage:
        """Return who checks the sessions.

        Args:
            interval: the time within which single cycles, such as of a cron job, are expected.
        """
        if any(watcher.state is not WatcherState.SILENT for watcher in self.watchers):
            return Coverage.WATCHED
        if not self.active:
            return Coverage.NOTHING_TO_WATCH
        recent = self.last_check is not None and self.as_of - self.last_check <= 2 * interval
        return Coverage.SINGLE_CYCLES if recent else Coverage.NOBODY
