"""The stage that checks tools right after their executions, between the scheduled checks."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from datetime import datetime

from rollguard.loop.stages.health import count
from rollguard.monitor.actions import ActionTaken
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.store.database.change_feed import Arrivals

_LISTEN_SECONDS = 60.0
_SHORTEST_REST = 0.02  # between two checks of what arrives
_REST_AFTER_ERROR = 1.0
_REST_WITHOUT_ARRIVALS = 15.0  # if listening to arrivals fails


class ArrivalsStage:
    """Checks the sessions of tools whose executions just arrived.

    Only the evidence rule and the triggers may act then. The threshold rule waits for its schedule, because more checks
    would raise its number of false alarms. A check that calls for nothing is not recorded.

    Checks never take more than a fifth of a processor, nor more than half of the time.

    Args:
        monitor: makes the checks and the rollbacks.

    Attributes:
        rest: seconds that the next run waits before it listens.
    """

    name = "arrivals"
    interval_seconds = 0.0

    def __init__(self, monitor: DeploymentMonitor) -> None:
        self._monitor = monitor
        self._arrivals: Arrivals | None = None
        self._interrupted = threading.Event()
        self.rest = 0.0

    def run(self, now: datetime | None) -> dict[str, int]:
        """Wait for executions, for a minute at most, and check their tools. `looks` counts the sessions checked."""
        if self._interrupted.wait(self.rest):
            return {}
        self.rest = _REST_WITHOUT_ARRIVALS
        arrivals = self._listening()
        tools = arrivals.wait(_LISTEN_SECONDS)
        if not tools:
            self.rest = 0.0
            return {}
        self.rest = _REST_AFTER_ERROR
        # Waiting for the processor or for a lock does not count as work.
        began, worked = time.monotonic(), time.thread_time()
        counts = count(self.check(tools, now))
        self.rest = max(_SHORTEST_REST, time.monotonic() - began, 4 * (time.thread_time() - worked))
        counts["arrival_checks"] = counts.pop("checks")
        return counts

    def check(self, tool_names: Collection[str], now: datetime | None) -> Iterator[ActionTaken | Exception]:
        """Check the active sessions of these tools that may act between two scheduled checks."""
        sessions = [
            session
            for session in self._monitor.get_active_sessions()
            if session.tool_name in tool_names and session.rules.checks_every_arrival and session.invalid_rules is None
        ]
        return self._monitor.session_checks.run(sessions, now, scheduled=False)

    def start(self) -> None:
        """Begin to listen. From now on no execution is missed."""
        self._interrupted.clear()
        self.rest = 0.0
        self._listening()

    def _listening(self) -> Arrivals:
        """Return what listens; a run begins it if the start could not, such as without the database."""
        if self._arrivals is None:
            arrivals = self._monitor.store.arrivals()
            arrivals.wait(0.0)
            self._arrivals = arrivals
        return self._arrivals

    def interrupt(self) -> None:
        """Stop waiting."""
        self._interrupted.set()
        if self._arrivals is not None:
            self._arrivals.interrupt()

    def close(self) -> None:
        """Stop listening."""
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None
