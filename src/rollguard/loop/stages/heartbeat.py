"""The stage that shows that this loop lives, and notifies people of loops that do not."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from rollguard.errors import StoreError
from rollguard.loop.stages.health import HealthStage
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.log import logger_of
from rollguard.model.watcher import Watcher, WatcherState
from rollguard.monitor.session_checks import moment_of
from rollguard.store import ExecutionStore

logger = logger_of(__name__)


class HeartbeatStage:
    """Writes a sign of life to the table `watchers`, and reports watchers that are silent or behind.

    It has a thread of its own, so the row also shows a loop that lives while its checks hang. A single cycle writes no
    sign of life, and reports the others.

    Args:
        store: where the row is kept.
        health: the stage whose finished cycles the row shows.
        check_interval_seconds: time between the starts of two cycles.
    """

    name = "heartbeat"
    interval_seconds = 10.0
    follows = frozenset({"health"})

    def __init__(self, store: ExecutionStore, health: HealthStage, check_interval_seconds: float) -> None:
        self._watchers, self._health, self._interval = store.watchers, health, check_interval_seconds
        self._running = False
        self._since: datetime | None = None
        self._cycles = 0

    def run(self, now: datetime | None) -> dict[str, int]:
        """Give a sign of life while the loop runs, and report the others."""
        found = self._beat() if self._running else self._watchers.all()
        self._watchers.report(found, lambda watcher: _event(watcher, found), moment_of(now))
        return {}

    def start(self) -> None:
        """Begin to give signs of life."""
        self._running, self._since, self._cycles = True, None, self._health.cycles
        self._beat()

    def interrupt(self) -> None:
        """Do nothing: a sign of life is quick."""

    def close(self) -> None:
        """Remove the row: this loop ends as it should."""
        self._running = False
        try:
            self._watchers.leave(self._health.watcher)
        except StoreError as error:
            logger.warning("this watcher counts as silent in a minute, because its row could not be removed: %s", error)

    def _beat(self) -> list[Watcher]:
        cycles = self._health.cycles
        found = self._watchers.beat(
            self._health.watcher,
            host=platform.node() or "host",
            pid=os.getpid(),
            interval_seconds=self._interval,
            checked=cycles > self._cycles,
            since=self._since,
        )
        self._cycles = cycles
        self._since = next((w.started_at for w in found if w.watcher_id == self._health.watcher), None)
        return found


def _event(watcher: Watcher, found: Sequence[Watcher]) -> dict[str, object]:
    """Return the event of a watcher that is silent or behind."""
    silent = watcher.state is WatcherState.SILENT
    others = sum(w.state is WatcherState.WATCHING and w.watcher_id != watcher.watcher_id for w in found)
    reasons = (
        f"its latest sign of life was {watcher.silent_for.total_seconds():.0f} s ago"
        if silent
        else f"its latest cycle is {watcher.behind.total_seconds():.0f} s late; the interval is "
        f"{watcher.interval_seconds:g} s",
        f"other watchers that check the sessions: {others or 'none'}",
        "see whether it runs, and its log; rollguard status lists the watchers",
    )
    details = {"watcher_id": watcher.watcher_id, "host": watcher.host, "pid": watcher.pid, "others": others}
    return Event(
        EventKind.WATCHER_SILENT if silent else EventKind.WATCHER_BEHIND,
        Level.WARNING if others else Level.CRITICAL,
        "",
        None,
        f"watcher on {watcher.host}, process {watcher.pid}, is {watcher.state}",
        reasons,
        watcher.as_of.astimezone(UTC).isoformat(),
        details,
    ).to_dict()
