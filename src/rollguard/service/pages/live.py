"""Tell open pages that something changed, by server-sent events. The pages then read themselves again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from rollguard.errors import StoreError
from rollguard.store import ExecutionStore

INTERVAL = 1.0  # seconds between two reads, however many pages are open
_CALLS_AT_MOST_EACH = 3.0  # seconds between two events that say only that calls arrived
_SIGN_OF_LIFE = 15.0  # seconds; keeps proxies from closing the stream


class Live:
    """What changed last, for all open pages of this process: the store is read once for all of them.

    Args:
        store: is read while there is an open page, and not otherwise.
    """

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._number = 0
        self._seen: Any = None
        self._counted: tuple[int, float] = (0, 0.0)
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream, so that the service can stop."""
        self._closing.set()

    async def events(self) -> AsyncIterator[str]:
        """Return the text of a stream: an event each time that something changed."""
        yield "retry: 2000\n\n"
        known, quiet_since = await self._changed(), time.monotonic()
        while not self._closing.is_set():
            number = await self._changed()
            if number != known:
                known, quiet_since = number, time.monotonic()
                yield f"event: changed\ndata: {number}\n\n"
            elif time.monotonic() - quiet_since > _SIGN_OF_LIFE:
                quiet_since = time.monotonic()
                yield ": alive\n\n"
            try:
                await asyncio.wait_for(self._closing.wait(), INTERVAL)
            except TimeoutError:
                continue

    async def _changed(self) -> int:
        """Return a number that is another one after each change."""
        async with self._reading:
            if time.monotonic() - self._read_at >= INTERVAL * 0.9:
                self._read_at = time.monotonic()
                try:
                    decided, executions = await run_in_threadpool(self._store.reports.latest)
                except StoreError:  # the pages say so when they are read
                    return self._number
                self._note(decided, executions, time.monotonic())
            return self._number

    def _note(self, decided: object, executions: int, now: float) -> None:
        counted, at = self._counted
        arrived = executions != counted and now - at >= _CALLS_AT_MOST_EACH
        if decided != self._seen or arrived:
            self._seen, self._counted = decided, (executions, now)
            self._number += 1
