"""The stage that checks every active session and rolls back what needs it."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from rollguard.errors import StoreError
from rollguard.model.log import logger_of
from rollguard.model.session import Session
from rollguard.monitor.actions import ActionTaken
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.monitor.session_checks import BATCH, moment_of, no_collections

logger = logger_of(__name__)

COUNTERS = ("checks", "rollbacks_triggered", "rollbacks_failed", "sessions_completed", "errors")


class HealthStage:
    """Checks every active session, hundreds of them with a few statements.

    Args:
        monitor: makes the checks and the rollbacks.
        lease: how long a watcher keeps a session while the loop runs, so that several watchers share the sessions. When
            the lease of a dead watcher ends, others take over. None checks every session, without sharing.

    Attributes:
        watcher: the name of this watcher, in leases and in the table `watchers`.
        cycles: number of finished runs.
    """

    name = "health"

    def __init__(self, monitor: DeploymentMonitor, *, lease: timedelta | None = None) -> None:
        self._monitor, self._lease = monitor, lease
        self._shared_for: timedelta | None = None
        self.cycles = 0
        self.watcher = f"{platform.node() or 'host'}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def run(self, now: datetime | None) -> dict[str, int]:
        """Check the sessions. Raise `StoreUnavailable` if they cannot be read."""
        with no_collections():
            sessions: Iterable[Session] = (
                self._monitor.get_active_sessions() if self._shared_for is None else self._leased(now, self._shared_for)
            )
        counts = count(self._monitor.session_checks.run(sessions, now))
        self.cycles += 1
        return {"cycles": 1, **counts}

    def start(self) -> None:
        """Begin to share the sessions with other watchers."""
        self._shared_for = self._lease

    def interrupt(self) -> None:
        """Do nothing: checks under way are finished."""

    def close(self) -> None:
        """Release the sessions of this watcher, so that others can take them at once."""
        self._shared_for = None
        try:
            self._monitor.store.sessions.let_go(self.watcher)
        except StoreError as error:
            logger.warning("other watchers take the sessions over only when their lease is over: %s", error)

    def _leased(self, given: datetime | None, lease: timedelta) -> Iterator[Session]:
        """Take sessions that no other watcher keeps, in batches, so that watchers that start together share."""
        last, take = 0, self._monitor.store.sessions.take
        while True:
            now = moment_of(given)
            batch = take(self.watcher, after=last, limit=BATCH, now=now, until=now + lease)
            if not batch:
                return
            last = batch[-1].session_id
            yield from batch


def count(results: Iterable[ActionTaken | Exception]) -> dict[str, int]:
    """Count checks, rollbacks, completed sessions and errors, and log the rollbacks."""
    counts = dict.fromkeys(COUNTERS, 0)
    for result in results:
        if isinstance(result, Exception):
            counts["errors"] += 1
            continue
        counts["checks"] += 1
        tool_name = result.report.session.tool_name
        if result.rollback_performed:
            counts["rollbacks_triggered"] += 1
            logger.warning("AUTO-ROLLBACK: %s: %s", tool_name, result.reason)
        elif result.report.needs_rollback and not result.refused:
            counts["rollbacks_failed"] += 1
            logger.error("%s needs a rollback that could not be made: %s", tool_name, result.reason)
        if result.session_status == "completed":
            counts["sessions_completed"] += 1
    return counts
