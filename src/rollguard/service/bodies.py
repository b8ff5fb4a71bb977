"""Receive bodies within limits: of size, also when decompressed, of time, and of all that wait at once."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollguard.service.problems import Refused

_GZIP = 31  # zlib's number for gzip with the largest window
_AT_ONCE = 65_536  # bytes that are decompressed before the limit is looked at
_AT_LEAST = 12 * 2**20  # bytes of all bodies in memory together, or the largest and a half


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one body.

    Attributes:
        body: bytes as they are sent.
        decompressed: bytes after decompression.
        seconds: until the whole body has arrived.
    """

    body: int
    decompressed: int
    seconds: float


class LimitedBodies:
    """Middleware: the application sees bodies decompressed, and a caller who sends more than the limits is refused.

    A body is received while the application reads it, so a caller who is refused before costs no memory.

    Args:
        app: the application.
        limits: of one body.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._held, self._most = 0, max(_AT_LEAST, limits.decompressed * 3 // 2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a limited body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        body = _Body(self._limits, headers, receive, self._hold)
        if "content-encoding" in headers:
            del headers["content-encoding"], headers["content-length"]
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._held -= body.held

    def _hold(self, number: int) -> None:
        if self._held + number > self._most:
            raise Refused(503, "too much is being sent at once; send it again in a moment", {"Retry-After": "1"})
        self._held += number


class _Body:
    def __init__(self, limits: Limits, headers: Headers, receive: Receive, hold: Callable[[int], None]) -> None:
        self.held = 0
        self._limits, self._receive, self._hold = limits, receive, hold
        self._sent = 0
        self._deadline: float | None = None
        self._over = False
        self._problem = _announced(headers, limits)
        self._gzip = zlib.decompressobj(_GZIP) if headers.get("content-encoding", "").lower() == "gzip" else None

    async def receive(self) -> Message:
        """Return the whole body as one message, decompressed: in parts it would be in memory twice, to be joined."""
        if self._over:  # what may come now is that the caller is gone
            return await self._receive()
        if self._problem is not None:
            raise self._problem
        whole = BytesIO()
        while not self._over:
            message = await self._in_time()
            if message["type"] != "http.request":
                return message
            self._over = not message.get("more_body", False)
            content = message.get("body", b"")
            self._sent += len(content)
            if self._sent > self._limits.body:
                raise _too_large(self._limits.body, "")
            for part in self._decompressed(content):
                self._keep(part)
                whole.write(part)
        return {"type": "http.request", "body": whole.getvalue(), "more_body": False}

    async def _in_time(self) -> Message:
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._limits.seconds
        try:
            return await asyncio.wait_for(self._receive(), max(0.0, self._deadline - now))
        except TimeoutError:
            said = f"the body did not arrive within {self._limits.seconds:g} s; send less at once"
            raise Refused(408, said, {"Connection": "close"}) from None

    def _decompressed(self, content: bytes) -> Iterator[bytes]:
        if self._gzip is None:
            yield content
            return
        try:
            while content or self._gzip.unconsumed_tail:
                yield self._gzip.decompress(content, _AT_ONCE)
                content = self._gzip.unconsumed_tail or self._next_member()
        except zlib.error:
            raise Refused(400, "the body is not valid gzip, as its Content-Encoding says it is") from None
        if self._over and not self._gzip.eof:
            raise Refused(400, "the body is gzip that ends early")

    def _next_member(self) -> bytes:
        """Return what follows a whole member of gzip, which may be another one."""
        assert self._gzip is not None  # noqa: S101 - the caller decompresses
        more = self._gzip.unused_data
        if more:
            self._gzip = zlib.decompressobj(_GZIP)
        return more

    def _keep(self, content: bytes) -> None:
        if self.held + len(content) > self._limits.decompressed:
            raise _too_large(self._limits.decompressed, " when it is decompressed")
        self._hold(len(content))
        self.held += len(content)


def _announced(headers: Headers, limits: Limits) -> Refused | None:
    """Return what is wrong with a body before it is read."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        said = f"Content-Encoding: {encoding!r} is not supported; send gzip, or no encoding"
        return Refused(415, said, {"Accept-Encoding": "gzip, identity"})
    length = headers.get("content-length", "0")
    return _too_large(limits.body, "") if length.isdecimal() and int(length[:20]) > limits.body else None


def _too_large(limit: int, when: str) -> Refused:
    return Refused(413, f"the body is larger than {limit:,} bytes{when}; send it in parts", {"Connection": "close"})
