"""The channel that writes to the log."""

from __future__ import annotations

import logging

from rollguard.model.event import Event, Level
from rollguard.model.text import one_line

_LEVELS = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.CRITICAL: logging.CRITICAL}


class LogNotifier:
    """Writes events to the logger `rollguard.alerts`."""

    name = "log"

    def __init__(self) -> None:
        self._logger = logging.getLogger("rollguard.alerts")

    def notify(self, event: Event) -> None:
        """Log the event as one line, neutralised; the record's `event` attribute holds all of it, exactly."""
        self._logger.log(
            _LEVELS[event.level],
            "%s: %s",
            one_line(event.title),
            one_line("; ".join(event.reasons)),
            extra={"event": event.to_dict()},
        )
