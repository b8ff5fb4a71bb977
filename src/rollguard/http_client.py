"""One POST that comes to an end, however the other side behaves."""

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
"""How many times its timeout a whole POST takes at most: to connect, to send, and for the answer."""

_silent = ContextVar("_silent", default=False)
# Whoever knows the whole URL can post to it, and the client logs it at INFO.
logging.getLogger("httpx2").addFilter(lambda _record: not _silent.get())


@contextlib.contextmanager
def posting(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Iterator[httpx2.Response]:
    """Send a body; the answer's status and headers are read, its text is read on demand. Redirections are not followed.

    The URL, which may hold a secret, is not logged.

    Args:
        timeout: seconds to wait for a connection, and for each part of the answer. An answer that comes in ever more
            parts would never be done, so that all of it may take no longer than four times that.

    Raises:
        httpx2.HTTPError, httpx2.InvalidURL: there was no answer, or no whole one in time.
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
    """Cuts a connection when its time is over; the client's own timeouts begin anew with every byte."""

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
        """Told by the client of each of its steps: a new connection is one that returns a stream."""
        about = getattr(info.get("return_value"), "get_extra_info", None)
        found = None if about is None else about("socket")
        if isinstance(found, socket.socket):
            self._socket = found
            if self.over:  # it took that long to connect: nobody else cuts it any more
                self._cut()

    def _cut(self) -> None:
        self.over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # of TLS too: its own waits for the other side
