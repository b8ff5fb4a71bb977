"""The stage that delivers notifications."""

from __future__ import annotations

from datetime import datetime

from rollguard.monitor.session_checks import moment_of
from rollguard.notify import Dispatcher


class NotificationsStage:
    """Delivers what is due, every few seconds and as soon as another stage may have written something.

    Args:
        dispatcher: sends events to the channels.
    """

    name = "notifications"
    interval_seconds = 10.0  # as soon as the first retry of a channel that failed
    follows = frozenset({"recovery", "health", "arrivals", "verification", "quarantine"})

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def run(self, now: datetime | None) -> dict[str, int]:
        """Deliver what is due. A channel that fails is tried again later."""
        self._dispatcher.deliver(moment_of(now))
        return {}

    def start(self) -> None:
        """Do nothing: there is nothing to hold."""

    def interrupt(self) -> None:
        """Do nothing: an event that is on its way arrives."""

    def close(self) -> None:
        """Deliver what the last checks wrote."""
        self.run(None)
