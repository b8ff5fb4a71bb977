"""The channel that posts to a webhook."""

from __future__ import annotations

import hashlib
import json

from rollguard.errors import InvalidInput
from rollguard.http_client import NoAnswer, can_be_posted_to, host_of, posting
from rollguard.model.event import Event
from rollguard.notify.notifier import NotDelivered, Unreachable


class WebhookNotifier:
    """Sends each event as a JSON POST. Only a 2xx response counts as delivered; redirections are not followed.

    Args:
        url: `http://` or `https://`.
        timeout: seconds to wait for a connection, and for each part of the response; the whole POST takes at most
            four times as long.

    Raises:
        InvalidInput: the URL is invalid.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        if not can_be_posted_to(url):
            raise InvalidInput("webhook: nothing can be posted to its URL; give http://host/path or https://host/path")
        self._url = url
        self._timeout = timeout
        # The whole URL is a secret: anyone who knows it can post to it. So it is neither stored nor logged.
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        self._name = " ".join(filter(None, ("webhook", host_of(url), digest[:8])))

    @property
    def name(self) -> str:
        """Return `webhook`, the URL's host, and a digest of the whole URL, which tells several apart."""
        return self._name

    def notify(self, event: Event) -> None:
        """Send the event.

        Raises:
            NotDelivered: the response is not 2xx; or there is none (`Unreachable`).
        """
        body = json.dumps(event.to_dict()).encode()
        headers = {"Content-Type": "application/json"}
        try:
            # Only the status is read, because a body may never end.
            with posting(self._url, body, headers, timeout=self._timeout) as response:
                status, phrase = response.status_code, response.reason_phrase
        except NoAnswer as error:
            raise Unreachable(f"{self.name} did not answer: {error}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"{self.name} answered {status} {phrase}")
