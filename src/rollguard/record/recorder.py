"""Recording beside a tool's call: the caller leaves a note in a buffer, one thread brings the notes to the database."""

from __future__ import annotations

import atexit
import logging
import multiprocessing.util
import os
import signal
import threading
import time
import weakref
from collections import deque
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NamedTuple

from rollguard.errors import InvalidInput
from rollguard.record.delivery import RETRY_AFTER, Delivery
from rollguard.record.spool import Spool
from rollguard.store import ExecutionStore

logger = logging.getLogger(__name__)

_SHOWN = 500  # characters of a result that are told of a failure


class Note(NamedTuple):
    """One call as its caller leaves it: what the tool could still change is JSON already."""

    tool_name: str
    version_number: int | None
    began: float
    """Seconds since the epoch."""
    duration_ms: float
    success: bool
    error: str | None = None
    error_type: str | None = None
    parameters: str | None = None
    result: str | None = None
    request_id: str | None = None
    """What the call was made for; checked already."""


Noted = tuple[str, int | None, float, float, bool, str | None, str | None, str | None, str | None, str | None]
"""A `Note`, or a plain tuple of its fields, which takes a third of the time to make."""


class Recorder:
    """Records executions without making their callers wait.

    A caller leaves a note in a bounded buffer; a thread that starts with the first one stores them in batches. What
    does not fit into the buffer, or finds the database away, goes to the spool, a file, and is stored from there once
    the database is back. Nothing is raised into the caller. The buffer is emptied every `flush_interval`, before this
    process reads from the store, at exit and on SIGTERM; a SIGKILL loses at most what came since then.

    Args:
        store: where executions belong.
        spool: where they wait while the database is away.
        durable: True writes every execution through before its call returns.
        flush_interval: seconds that a note waits at most before it is stored.
        batch_size: notes stored in one transaction.
        buffer_size: notes that wait at most; further ones go to the spool at once.
        retry_after: seconds for which an unreachable database is not asked again.
    """

    def __init__(
        self,
        store: ExecutionStore,
        spool: Spool,
        *,
        durable: bool = False,
        flush_interval: float = 0.1,
        batch_size: int = 1_000,
        buffer_size: int = 50_000,
        retry_after: float = RETRY_AFTER,
    ) -> None:
        self._store = store
        self._delivery = Delivery(store, spool, retry_after=retry_after)
        self._durable = durable
        self._flush_interval = flush_interval
        self._batch_size = batch_size
        self._buffer_size = buffer_size
        self._begin_anew()
        if not durable:
            store.database.before_reading(self.empty)
        _forks.add(self)

    def __del__(self) -> None:
        self.empty()

    @property
    def spool(self) -> Spool:
        """Where executions wait while the database is away."""
        return self._delivery.spool

    @property
    def refused(self) -> Spool:
        """Where executions are set aside that the database refuses though it is there."""
        return self._delivery.refused

    @property
    def lost(self) -> int:
        """Executions that could be neither stored nor spooled; each was logged as an error."""
        return self._delivery.lost

    # --- recording -------------------------------------------------------------------------------------------------

    def note(self, note: Noted) -> None:
        """Record one call. Raises nothing, and waits for nothing but, with a full buffer, the spool."""
        if self._durable:
            self._delivery.deliver([self._row(note)])
            return
        buffer = self._buffer
        if len(buffer) >= self._buffer_size:
            self._delivery.keep([self._row(note)])
            return
        buffer.append(note)
        if self._resting:
            self._wake()

    def record(self, **execution: Any) -> None:
        """Record one execution, given as to `ExecutionStore.store_tool_execution`. Raises nothing."""
        try:
            row = self._store.executions.row(**execution)
        except InvalidInput:
            logger.exception("an execution of %r could not be recorded", execution.get("tool_name"))
            self._delivery.count_lost()
        else:
            self.empty()
            self._delivery.deliver([row])

    def encoded(self, tool_name: str, what: str, value: Any) -> str | None:
        """Parameters or a result as they are kept: as they are now, since the tool or its caller may change them."""
        return self._store.executions.encoded(tool_name, what, value)

    def shown(self, tool_name: str, result: Any) -> str:
        """A result as it may be shown in an error: as it is kept, redacted or left out, and not too long."""
        kept = self.encoded(tool_name, "result", result)
        text = "null" if result is None else "a result that counts as a failure" if kept is None else kept
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

    # --- storing ---------------------------------------------------------------------------------------------------

    def flush(self, *, wait: bool = True) -> int:
        """Store everything that waits, in the buffer and in the spool.

        Args:
            wait: whether to wait for another process that is storing what waits in the spool. Afterwards all that was
                noted before the call is in the database. False leaves to the other process what it has begun, so that
                nobody is held up by one that is slow or stopped.

        Returns:
            How many executions were waiting, less those that another process stored.

        Raises:
            StoreUnavailable: the database is away; nothing was forgotten.
        """
        return self._empty() + self._delivery.flush(wait=wait)

    def empty(self) -> None:
        """Bring what is in the buffer to the database or, while it is away, to the spool. Raises nothing."""
        self._empty()

    def _empty(self) -> int:
        buffer, emptied = self._buffer, 0
        if self._emptying.owned():
            return 0
        with self._emptying:  # also where nothing is left: what another thread is just storing counts as waiting
            while buffer:
                notes = [buffer.popleft() for _ in range(min(len(buffer), self._batch_size))]
                emptied += len(notes) + self._delivery.deliver([self._row(note) for note in notes])
        return emptied

    def _row(self, note: Noted) -> dict[str, Any]:
        return self._store.executions.row_of_call(
            tool_name=note[0],
            version_number=note[1],
            began=datetime.fromtimestamp(note[2], UTC),
            duration_ms=note[3],
            success=note[4],
            error=note[5],
            error_type=note[6],
            parameters=note[7],
            result=note[8],
            request_id=note[9],
        )

    # --- the thread ------------------------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Empty and without a thread, as at the start and in a forked child, whose parent stores what it noted."""
        self._buffer: deque[Noted] = deque()
        self._emptying = _Owned()
        self._work = threading.Event()
        self._resting = True
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def _wake(self) -> None:
        self._resting = False
        if self._thread is None:
            self._start()
        self._work.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                ours = weakref.ref(self)
                self._thread = threading.Thread(
                    target=_store_notes, args=(ours,), name="rollguard-recorder", daemon=True
                )
                self._thread.start()
                _empty_at_the_end(ours)

    def _rest(self) -> threading.Event:
        """Called by the thread: nothing is left; wait for more. A note left in this moment wakes it at once."""
        self._work.clear()
        self._resting = True
        if self._buffer:
            self._wake()
        return self._work


class _Owned:
    """A lock that can tell whether the asking thread holds it: storing reads, and reading would store again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner: int | None = None

    def owned(self) -> bool:
        return self._owner == threading.get_ident()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_exception: object) -> None:
        self._owner = None
        self._lock.release()


def _store_notes(ours: weakref.ref[Recorder]) -> None:
    """The thread. It keeps nothing alive: when its recorder is gone, so is it."""
    while (recorder := ours()) is not None:
        work, interval = recorder._rest(), recorder._flush_interval
        del recorder
        if not work.wait(timeout=60):
            continue
        time.sleep(interval)  # so that what comes together is stored together
        if (recorder := ours()) is not None:
            recorder.empty()
            del recorder


# --- the end of a process, and forks ---------------------------------------------------------------------------------

_forks: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in list(_forks):
        recorder._begin_anew()


os.register_at_fork(after_in_child=_after_fork)


def _empty_at_the_end(ours: weakref.ref[Recorder]) -> None:
    """Empty the buffer when the process ends: by itself, as a child of multiprocessing, or by SIGTERM."""

    def empty() -> None:
        recorder = ours()
        if recorder is not None:
            recorder.empty()

    atexit.register(empty)
    multiprocessing.util.Finalize(None, empty, exitpriority=100)  # its forked children run no atexit
    weakref.finalize(ours(), atexit.unregister, empty)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    """SIGTERM, where nobody else answers it: empty every buffer, then end as the signal would have ended us."""
    signal.signal(number, signal.SIG_DFL)

    def finish() -> None:  # in a thread: the main one may be interrupted in the middle of just that
        for recorder in list(_forks):
            recorder.empty()
        os.kill(os.getpid(), number)

    threading.Thread(target=finish, name="rollguard-end").start()
