"""Requests of callers. Calls for the same request count once, with the last outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar

from rollguard.model.names import checked_id

_request: ContextVar[str | None] = ContextVar("rollguard_request", default=None)

request_id = _request.get
"""Return the id of the current request, or None."""


def request(request_id: str | None) -> AbstractContextManager[None]:
    """Set the request of the calls inside a `with`, so that a request that is tried again counts once.

    Rollguard records every call that begins inside with this id: calls through a registry, and calls of functions with
    `@tool(store=...)`. The id applies to this thread or task, to tasks started inside, and to threads that run in its
    context (`asyncio.to_thread`, `contextvars.copy_context().run`). Inside another request, the inner one applies.

    Args:
        request_id: the caller's own id of the request, 1 to 255 printable characters; None means no request.

    Raises:
        InvalidInput: the id is invalid.
    """
    return _inside(None if request_id is None else checked_id("request_id", request_id))


@contextlib.contextmanager
def _inside(request_id: str | None) -> Iterator[None]:
    before = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(before)
