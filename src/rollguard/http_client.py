"""Send one POST request that always ends in limited time."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from rollguard.errors import unchained

if TYPE_CHECKING:
    import httpx2

WAITS = 4
"""The longest duration of a whole POST, in timeouts: to connect, to send and to read the response."""

_silent = ContextVar("_silent", default=False)
# The URL may hold a secret. The client logs it, and its transport logs what the server answers, such as the URL.
_LOGGERS = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(lambda _record: not _silent.get())


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the HTTP client from logging a URL, which may hold a secret."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


class NoAnswer(Exception):
    """No complete response arrived in time. Neither its text nor its chain holds a part of the URL but its host."""


def can_be_posted_to(url: str) -> bool:
    """Return whether it is a URL of http or https with a host."""
    return _split(url) is not None


def signature_of(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a request, for a receiver to compare with `hmac.compare_digest`."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def host_of(url: str) -> str | None:
    """Return scheme, host and port, to show; None if a password with an unescaped / or ? makes them unclear."""
    parts = _split(url)
    if parts is None or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable()
    except ValueError:
        return None
    return parts if usable else None


@contextlib.contextmanager
def posting(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Iterator[httpx2.Response]:
    """Send a body, and yield the response; its text is read on demand. Redirects are not followed.

    The URL is neither logged nor in an error, because it may hold a secret.

    Args:
        timeout: seconds to wait for a connection, and for each part of the response. The whole request may take four
            times that.

    Raises:
        NoAnswer: no complete response arrived in time.
    """
    import httpx2

    deadline = _Deadline(WAITS * timeout)
    try:
        with (
            silent(),
            deadline,
            httpx2.Client(timeout=timeout) as client,
            client.stream(
                "POST", url, content=body, headers=headers, extensions={"trace": deadline.connected}
            ) as answer,
        ):
            yield answer
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        late = f"ReadTimeout: it took longer than {WAITS * timeout:g} s"
        failed = NoAnswer(late if deadline.over else _said(error, url))
        unchained(failed)


def _said(error: Exception, url: str) -> str:
    """Return what is wrong; only the kind of the error if its text could hold a part of the URL."""
    import httpx2

    kind, text = type(error).__name__, str(error)
    parts = _split(url)
    if parts is None or host_of(url) is None or isinstance(error, httpx2.InvalidURL | UnicodeError):
        return kind
    secret = (parts.path.strip("/"), parts.query, parts.fragment, parts.username, parts.password)
    return kind if any(part and part in text for part in secret) else f"{kind}: {text}"


class _Deadline:
    """Closes a connection when its time is over; the client's own timeouts restart with every byte."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_exception: object) -> None:
        self._timer.cancel()

    def connected(self, _event: str, info: dict[str, Any]) -> None:
        """Store the socket of a new connection; the client calls this at each of its steps."""
        about = getattr(info.get("return_value"), "get_extra_info", None)
        found = None if about is None else about("socket")
        if isinstance(found, socket.socket):
            self._socket = found
            if self.over:  # the timer ran out while it connected
                self._cut()

    def _cut(self) -> None:
        self.over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(
                    self._socket, socket.SHUT_RDWR
                )  # TLS too: its own shutdown waits for the other side
