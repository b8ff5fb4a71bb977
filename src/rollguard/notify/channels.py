"""Channels: the log, and a webhook."""

from __future__ import annotations

import logging

from rollguard.errors import RollguardError
from rollguard.notify.event import Event, Level

_LEVELS = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.CRITICAL: logging.CRITICAL}


class NotDelivered(RollguardError):
    """A channel did not take the event; it is sent again later."""


class LogNotifier:
    """Writes events to the logger `rollguard.alerts`."""

    name = "log"

    def __init__(self) -> None:
        self._logger = logging.getLogger("rollguard.alerts")

    def notify(self, event: Event) -> None:
        """Log one line; the whole event is in the record's `event` attribute."""
        self._logger.log(
            _LEVELS[event.level],
            "%s: %s",
            event.title,
            "; ".join(event.reasons),
            extra={"event": event.to_dict()},
        )


class WebhookNotifier:
    """Sends each event as a JSON POST. Only an answer of 2xx counts as delivered.

    Args:
        url: `http://` or `https://`.
        timeout: seconds to wait for the answer.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self._url = url
        self._timeout = timeout

    @property
    def name(self) -> str:
        """`webhook` and the URL, since there may be several."""
        return f"webhook {self._url}"

    def notify(self, event: Event) -> None:
        """Send the event.

        Raises:
            NotDelivered: no answer, or another than 2xx.
        """
        import httpx

        try:
            answer = httpx.post(self._url, json=event.to_dict(), timeout=self._timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotDelivered(f"{self._url} did not answer: {type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise NotDelivered(f"{self._url} answered {answer.status_code} {answer.reason_phrase}")
