"""What is live of every tool, for agents that serve it: callers wait for the next change."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from rollguard.model.split import Split
from rollguard.store import ExecutionStore, Pointer

_EVERY = 0.25  # seconds between two looks at the database, for all callers that wait together


@dataclass(frozen=True, slots=True)
class Shared:
    """Two versions of a tool that serve at once, with the hashes of their code."""

    split: Split
    old_sha256: str
    new_sha256: str


@dataclass(frozen=True, slots=True)
class Live:
    """The live version of each tool at one moment, the rollouts, and a tag that changes with them."""

    pointers: tuple[Pointer, ...]
    shared: dict[str, Shared]
    tag: str


class LiveVersions:
    """Reads what is live, once for all callers that ask at the same time.

    Args:
        store: holds the live pointers.
        stopping: set when the service stops; nobody waits longer.
    """

    def __init__(self, store: ExecutionStore, stopping: asyncio.Event) -> None:
        self._store, self._stopping = store, stopping
        self._turn = asyncio.Lock()
        self._read_at = -_EVERY
        self._latest: Live | None = None

    async def now(self) -> Live:
        """Return what is live, or was a quarter of a second ago.

        Raises:
            StoreUnavailable: the database is away.
        """
        clock: Callable[[], float] = asyncio.get_running_loop().time
        async with self._turn:
            if self._latest is None or clock() - self._read_at >= _EVERY:
                self._latest = await run_in_threadpool(self._read)
                self._read_at = clock()
            return self._latest

    async def after(self, tag: str | None, seconds: float) -> Live:
        """Return what is live as soon as its tag is another one, or after so many seconds."""
        clock: Callable[[], float] = asyncio.get_running_loop().time
        end, found = clock() + seconds, await self.now()
        while found.tag == tag and (left := end - clock()) > 0 and not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), min(left, _EVERY))
            except TimeoutError:
                found = await self.now()
        return found

    def _read(self) -> Live:
        pointers = tuple(sorted(self._store.pointers.moved_since(0), key=lambda one: one.tool_name))
        shared = {name: self._shared(name, split) for name, split in sorted(self._store.rollouts.splits().items())}
        said = json.dumps([pointers, {name: repr(one) for name, one in shared.items()}])
        return Live(pointers, shared, hashlib.sha256(said.encode()).hexdigest()[:32])

    def _shared(self, name: str, split: Split) -> Shared:
        old, new = (self._store.versions.get(name, number).sha256 for number in (split.old, split.new))
        return Shared(split, old, new)
