"""Run the loop in the service's own process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rollguard.app import Rollguard
from rollguard.model.log import logger_of

logger = logger_of(__name__)


class Watching:
    """The loop beside the service. Replicas on one database share the sessions.

    Args:
        guard: the system whose loop it is.
        wanted: whether it runs here.
    """

    def __init__(self, guard: Rollguard, *, wanted: bool) -> None:
        self._guard, self.wanted = guard, wanted
        self._task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Return whether the loop runs, or need not."""
        return not self.wanted or (self._task is not None and not self._task.done())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loop for as long as the context is open. At its end, checks under way are finished."""
        if not self.wanted:
            yield
            return
        loop = await asyncio.to_thread(lambda: self._guard.loop)
        self._task = asyncio.create_task(loop.run(handle_signals=False), name="rollguard-loop")
        self._task.add_done_callback(_log_end)
        try:
            yield
        finally:
            loop.stop()
            await asyncio.wait([self._task])


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the loop ended, so nothing is checked by this process; restart it", exc_info=error)
