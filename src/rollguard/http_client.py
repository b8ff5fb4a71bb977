"""Send one POST request that always ends in limited time."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

WAITS = 4
"""The longest duration of a whole POST, in timeouts: to connect, to send and to read the response."""

_silent = ContextVar("_silent", default=False)
# The URL may hold a secret, and the client would log it at INFO.
logging.getLogger("httpx2").addFilter(lambda _record: not _silent.get())


@contextlib.contextmanager
def posting(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Iterator[httpx2.Response]:
    """Send a body, and yield the response; its text is read on demand. Redirects are not followed.

    The URL is not logged, because it may hold a secret.

    Args:
        timeout: seconds to wait for a connection, and for each part of the response. The whole request may take four
            times that.

    Raises:
        httpx2.HTTPError, httpx2.InvalidURL: no complete response arrived in time.
    """
    import httpx2

    deadline = _Deadline(WAITS * timeout)
    token = _silent.set(True)
    try:
        with (
            deadline,
            httpx2.Client(timeout=timeout) as client,
            client.stream(
                "POST", url, content=body, headers=headers, extensions={"trace": deadline.connected}
            ) as answer,
        ):
            yield answer
    except httpx2.HTTPError as error:
        if deadline.over:
            raise httpx2.ReadTimeout(f"it took longer than {WAITS * timeout:g} s") from error
        raise
    finally:
        _silent.reset(token)


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
