"""The channel that writes to the log."""

from __future__ import annotations

import logging

from rollguard.model.event import Event, Level

_LEVELS = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.CRITICAL: logging.CRITICAL}


class LogNotifier:
    """Writes events to the logger `rollguard.alerts`."""

    name = "log"

    def __init__(self) -> None:
        self._logger = logging.getLogger("rollguard.alerts")

    def notify(self, event: Event) -> None:
        """Log the event as one line; the record's `event` attribute holds all of it."""
        self._logger.log(
            _LEVELS[event.level],
            "%s: %s",
            event.title,
            "; ".join(event.reasons),
            extra={"event": event.to_dict()},
        )
