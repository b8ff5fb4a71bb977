"""The channel that posts to a webhook."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from rollguard.errors import InvalidInput
from rollguard.http_client import NoAnswer, can_be_posted_to, host_of, posting, signature_of
from rollguard.model.event import Event
from rollguard.notify.notifier import NotDelivered, Unreachable


class WebhookNotifier:
    """Sends each event as a JSON POST. Only a 2xx response counts as delivered; redirections are not followed.

    With a secret, `Rollguard-Timestamp` is the Unix time, and `Rollguard-Signature` is `sha256=` and the HMAC-SHA-256,
    in hexadecimal, of the timestamp, a full stop and the body.

    Args:
        url: `http://` or `https://`.
        timeout: seconds to wait for a connection, and for each part of the response; the whole POST takes at most
            four times as long.
        secret: shared with the receiver; empty signs nothing.

    Raises:
        InvalidInput: the URL is invalid.
    """

    kind = "webhook"

    def __init__(self, url: str, *, timeout: float = 5.0, secret: str = "") -> None:
        if not can_be_posted_to(url):
            said = "nothing can be posted to its URL; give http://host/path or https://host/path"
            raise InvalidInput(f"{self.kind}: {said}")
        self._url, self._secret = url, secret.encode()
        self._timeout = timeout
        # The whole URL is a secret: anyone who knows it can post to it. So it is neither stored nor logged.
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        self._name = " ".join(filter(None, (self.kind, host_of(url), digest[:8])))

    @property
    def name(self) -> str:
        """Return the kind of channel, the URL's host, and a digest of the whole URL, which tells several apart."""
        return self._name

    def encoded(self, event: Event) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the headers for an event."""
        return json.dumps(event.to_dict()).encode(), {"Content-Type": "application/json"}

    def notify(self, event: Event) -> None:
        """Send the event.

        Raises:
            NotDelivered: the response is not 2xx; or there is none (`Unreachable`).
        """
        body, headers = self.encoded(event)
        if self._secret:
            timestamp = str(int(datetime.now(UTC).timestamp()))
            signature = signature_of(self._secret, timestamp, body)
            headers = {**headers, "Rollguard-Timestamp": timestamp, "Rollguard-Signature": signature}
        try:
            # Only the status is read, because a body may never end.
            with posting(self._url, body, headers, timeout=self._timeout) as response:
                status, phrase = response.status_code, response.reason_phrase
        except NoAnswer as error:
            raise Unreachable(f"{self.name} did not answer: {error}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"{self.name} answered {status} {phrase}")
