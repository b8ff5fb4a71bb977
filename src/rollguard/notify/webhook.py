"""The channel that posts to a webhook."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

from rollguard.errors import InvalidInput
from rollguard.http_client import posting
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
        self._url = url
        self._timeout = timeout
        # The whole URL is a secret: anyone who knows it can post to it. So it is neither stored nor logged.
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        self._name = f"webhook {_host(url)} {digest[:8]}"

    @property
    def name(self) -> str:
        """Return `webhook`, the URL's host, and a digest of the whole URL, which tells several apart."""
        return self._name

    def notify(self, event: Event) -> None:
        """Send the event.

        Raises:
            NotDelivered: the response is not 2xx; or there is none (`Unreachable`).
        """
        import httpx2

        body = json.dumps(event.to_dict()).encode()
        headers = {"Content-Type": "application/json"}
        try:
            # Only the status is read, because a body may never end.
            with posting(self._url, body, headers, timeout=self._timeout) as response:
                status, phrase = response.status_code, response.reason_phrase
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
