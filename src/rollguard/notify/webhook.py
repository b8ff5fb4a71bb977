"""A webhook as a channel."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

from rollguard.errors import InvalidInput
from rollguard.http_client import posting
from rollguard.model.event import Event
from rollguard.notify.notifier import NotDelivered, Unreachable


class WebhookNotifier:
    """Sends each event as a JSON POST. Only an answer of 2xx counts as delivered; redirections are not followed.

    Args:
        url: `http://` or `https://`.
        timeout: seconds to wait for a connection, and for each part of the answer; all of it takes four times that
            at most.

    Raises:
        InvalidInput: nothing can be posted to the URL.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self._url = url
        self._timeout = timeout
        # Whoever knows the whole URL can post to it, so it is neither stored nor logged.
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        self._name = f"webhook {_host(url)} {digest[:8]}"

    @property
    def name(self) -> str:
        """`webhook`, the URL's host, and a digest of the whole URL, since there may be several."""
        return self._name

    def notify(self, event: Event) -> None:
        """Send the event.

        Raises:
            NotDelivered: another answer than 2xx, or none (`Unreachable`).
        """
        import httpx2

        body = json.dumps(event.to_dict()).encode()
        headers = {"Content-Type": "application/json"}
        try:
            # Only the status is read: an answer without end would never be done.
            with posting(self._url, body, headers, timeout=self._timeout) as answer:
                status, phrase = answer.status_code, answer.reason_phrase
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Unreachable(f"{self.name} did not answer: {type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"{self.name} answered {status} {phrase}")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable:
        raise InvalidInput("webhook: nothing can be posted to its URL; give http://host/path or https://host/path")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
