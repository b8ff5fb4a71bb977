"""One POST that comes to an end, however the other side behaves."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

WAITS = 4
"""How many times its timeout a whole POST takes at most: to connect, to send, and for the answer."""


@contextlib.contextmanager
def posting(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Iterator[httpx.Response]:
    """Send a body; the answer's status and headers are read, its text is read on demand. Redirections are not followed.

    Args:
        timeout: seconds to wait for a connection, and for each part of the answer. An answer that comes in ever more
            parts would never be done, so that all of it may take no longer than four times that.

    Raises:
        httpx.HTTPError, httpx.InvalidURL: there was no answer, or no whole one in time.
    """
    import httpx

    deadline = _Deadline(WAITS * timeout)
    try:
        with (
            deadline,
            httpx.Client(timeout=timeout) as client,
            client.stream(
                "POST", url, content=body, headers=headers, extensions={"trace": deadline.connected}
            ) as answer,
        ):
            yield answer
    except httpx.HTTPError as error:
        if deadline.over:
            raise httpx.ReadTimeout(f"it took longer than {WAITS * timeout:g} s") from error
        raise


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
