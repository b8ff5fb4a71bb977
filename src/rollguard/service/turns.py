"""Read bodies one after another, and let little of them wait in memory until it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

Read = TypeVar("Read")
Written = TypeVar("Written")

_MOST = 16 * 2**20  # bytes of what is read and not written, about; a larger one is written alone


class Turns:
    """Has one body read at a time, always in the same thread: what a thread frees is kept for that thread.

    The values of a body take several times its bytes. So a body is read only when there is room for the one before it,
    among those that are being written.
    """

    def __init__(self) -> None:
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollguard-reader")
        self._turn, self._freed, self._left = asyncio.Lock(), asyncio.Condition(), _MOST

    async def take(
        self, read: Callable[[], Read], size: Callable[[Read], int], write: Callable[[Read], Written]
    ) -> Written:
        """Return what `write` returns for what `read` returned; `size` says about how many bytes that takes."""
        async with self._turn:
            found = await asyncio.get_running_loop().run_in_executor(self._reader, read)
            needed = min(size(found), _MOST)
            async with self._freed:
                await self._freed.wait_for(lambda: self._left >= needed)
                self._left -= needed
        try:
            return await run_in_threadpool(write, found)
        finally:
            self._left += needed
            async with self._freed:
                self._freed.notify_all()
