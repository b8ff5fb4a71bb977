"""The stage that delivers notifications."""

from __future__ import annotations

from datetime import datetime

from rollguard.monitor.session_checks import moment_of
from rollguard.notify import Dispatcher


class NotificationsStage:
    """Delivers due notifications, every few seconds and after each run of a stage that may write some.

    Args:
        dispatcher: sends events to the channels.
    """

    name = "notifications"
    interval_seconds = 10.0  # the delay before the first retry of a failed channel
    follows = frozenset({"recovery", "health", "arrivals", "verification", "quarantine", "rehearse"})

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def run(self, now: datetime | None) -> dict[str, int]:
        """Deliver due notifications. A channel that fails is tried again later."""
        self._dispatcher.deliver(moment_of(now))
        return {}

    def start(self) -> None:
        """Do nothing: the stage holds no resource."""

    def interrupt(self) -> None:
        """Do nothing: a delivery under way is finished."""

    def close(self) -> None:
        """Deliver the notifications of the last checks."""
        self.run(None)
