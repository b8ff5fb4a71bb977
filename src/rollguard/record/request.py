"""What calls are made for: calls that name the same request count once, with the last outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar

from rollguard.model.names import checked_id

_request: ContextVar[str | None] = ContextVar("rollguard_request", default=None)

request_id = _request.get
"""The id of the request that calls are made for here and now; None for none."""


def request(request_id: str | None) -> AbstractContextManager[None]:
    """Say what the calls inside a `with` are made for, so that a request that is tried again counts once.

    Every call that begins inside, through a registry or of a function with `@tool(store=...)`, is recorded with this
    id. It holds in this thread or task, in tasks that are begun inside, and in threads that are given the context
    (`asyncio.to_thread`, `contextvars.copy_context().run`). Inside another one, the inner one holds.

    Args:
        request_id: the caller's own id of the request, 1 to 255 printable characters; None is no request.

    Raises:
        InvalidInput: it is no id.
    """
    return _inside(None if request_id is None else checked_id("request_id", request_id))


@contextlib.contextmanager
def _inside(request_id: str | None) -> Iterator[None]:
    before = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(before)
