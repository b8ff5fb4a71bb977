"""Recording beside a tool's call: the caller leaves a note in a buffer, one thread brings the notes to the database."""

from __future__ import annotations

import atexit
import logging
import multiprocessing.util
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.model.execution import Execution
from rollguard.record.delivery import RETRY_AFTER, Delivery
from rollguard.record.spool import Spool
from rollguard.store import ExecutionStore, complete_call

logger = logging.getLogger(__name__)

_SHOWN = 500  # characters of a result that are told of a failure
_LOOK_EVERY = 0.1  # seconds between two looks at how much has come together
_LOOK_AT_SPOOL_EVERY = 60.0  # seconds; something may wait there that another process could not store
_PATIENCE = 10.0  # seconds that the end of a process waits for what the thread is just storing


Note = tuple[Any, ...]
"""A call as its caller leaves it: the fields of an `Execution` in their order, `executed_at` in seconds since 1970.

A plain tuple, since the caller pays for it. Payloads are JSON already, since the tool could still change them.
"""


class Recorder:
    """Records executions without making their callers wait.

    A caller leaves a note in a bounded buffer; a thread that starts with the first one stores them in batches. What
    does not fit into the buffer, or finds the database away, goes to the spool, a file, and is stored from there once
    the database is back: the thread looks every `retry_after`. Rows need not be stored in the order of their calls:
    what comes while the spool is emptied may be stored before it. Nothing is raised into the caller. The buffer is
    emptied every `flush_interval`, or when a batch has come together, before this process reads from the store and at
    exit; a signal that kills the process loses at most what came since then (see `install_signal_handlers`).

    Where no thread can be started (the system's limit is reached, or the interpreter is ending) callers store what they
    record themselves.

    Args:
        store: where executions belong.
        spool: where they wait while the database is away.
        durable: True writes every execution through, and to the disk, before its call returns.
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
        self._delivery = Delivery(store, spool, retry_after=retry_after, durable=durable)
        self._through = durable  # also when the process is ending: then nobody is left to empty the buffer
        self._flush_interval = flush_interval
        self._batch_size = batch_size
        self._buffer_size = buffer_size
        self._retry_after = max(retry_after, _LOOK_EVERY)
        self._begin_anew()
        if not durable:
            store.database.before_reading(self.empty)
            _finish_at_exit(self)
        _recorders.add(self)

    def __del__(self) -> None:
        self.empty()
        self._work.set()  # the thread finds that nobody is left whom it works for

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

    def note(self, note: Note) -> None:
        """Record one call. Raises nothing, and waits for nothing but, with a full buffer, the spool."""
        if self._through:
            self._write_through(self._rows([note]))
            return
        buffer = self._buffer
        if len(buffer) >= self._buffer_size:
            self._delivery.keep(self._rows([note]))
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
            self._write_through([row])

    def _write_through(self, rows: list[Execution]) -> None:
        self._delivery.deliver(rows)
        if self._delivery.away and self._resting and not self._over.is_set():
            self._wake()  # the thread looks when the database is back

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
        if self._emptying.owned():
            return 0
        end, emptied = len(self._buffer) + self._taken, 0  # not what comes meanwhile: that could go on for ever
        with self._emptying:  # also where nothing is left: what another thread is just storing counts as waiting
            while self._batch or (self._buffer and self._taken < end):
                rows = self._next_batch()
                emptied += len(rows) + self._delivery.deliver(rows)
                self._batch.clear()
        return emptied

    def _next_batch(self) -> list[Any]:
        """The next notes as rows; those of a batch that was interrupted (Ctrl-C) once more, under the same ids."""
        if not self._batch:
            number = min(len(self._buffer), self._batch_size)
            self._taken += number
            # In one step, so that an interruption finds each note either here or there.
            self._batch.extend(islice(iter(self._buffer.popleft, None), number))
        self._batch[:] = self._rows(self._batch)
        return self._batch

    def _rows(self, notes: Iterable[Any]) -> list[Execution]:
        """Notes as executions, without those that cannot be one: each is logged and counted as lost."""
        rows = []
        for note in notes:
            try:
                rows.append(note if isinstance(note, Execution) else complete_call(note))
            except Exception:  # what a tool calls an error's text may be anything
                logger.exception("an execution of %r could not be recorded", note[0])
                self._delivery.count_lost()
        return rows

    # --- the thread ------------------------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Empty and without a thread, as at the start and in a forked child, whose parent stores what it noted."""
        self._buffer: deque[Note] = deque()
        self._batch: list[Any] = []  # notes or rows that are just being stored
        self._taken = 0  # notes that were ever taken out of the buffer
        self._emptying = _Owned()
        self._work = threading.Event()
        self._over = threading.Event()  # the thread is to end
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
            if self._thread is not None or self._over.is_set():
                return
            self._thread = threading.Thread(
                target=_store_notes, args=(weakref.ref(self),), name="rollguard-recorder", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:
                logger.warning("executions are stored by their callers, since a thread cannot be had: %s", error)
                self._thread = None
            else:
                _finish_as_child(self)
                return
        self._resting = True
        self.empty()

    def _rest(self) -> threading.Event:
        """Called by the thread: nothing is left; wait for more. A note left in this moment wakes it at once."""
        self._work.clear()
        self._resting = True
        if self._buffer or self._over.is_set():
            self._wake()
        return self._work

    def _finish(self, *, wait: bool = True) -> None:
        """The process is ending: nothing is left in the buffer, and no thread, which might log when nobody can.

        Args:
            wait: False where the process is killed next, so that it makes no difference what the thread does.
        """
        self._through = True
        self.empty()
        self._over.set()
        self._work.set()
        if wait and self._thread is not None:
            self._thread.join(_PATIENCE)
        self.empty()  # also what came while that was done


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
        over = recorder._over
        work, interval, spool, retry_after = (
            recorder._rest(),
            recorder._flush_interval,
            recorder.spool,
            recorder._retry_after,
        )
        del recorder
        if work.wait(retry_after if spool.pending else _LOOK_AT_SPOOL_EVERY):
            _gather(ours, interval, over)
        if over.is_set():
            return
        if (recorder := ours()) is not None:
            recorder.empty()
            recorder._delivery.try_again()
            del recorder


def _gather(ours: weakref.ref[Recorder], interval: float, over: threading.Event) -> None:
    """Wait, so that what comes together is stored together: for the interval, or until a batch has come."""
    end = time.monotonic() + interval
    while not over.is_set() and (left := end - time.monotonic()) > 0:
        recorder = ours()
        if recorder is None or len(recorder._buffer) >= recorder._batch_size:
            return
        del recorder
        over.wait(min(left, _LOOK_EVERY))


# --- the end of a process, and forks ---------------------------------------------------------------------------------

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder._begin_anew()


os.register_at_fork(after_in_child=_after_fork)


def _finish_at_exit(recorder: Recorder) -> None:
    """Empty the buffer when the process ends. What is called at exit after that is written through."""
    finish = _finishing(recorder)
    atexit.register(finish)
    weakref.finalize(recorder, atexit.unregister, finish).atexit = False


def _finish_as_child(recorder: Recorder) -> None:
    """The same for the children of multiprocessing: forked ones run no atexit, and forget what it did for parents."""
    multiprocessing.util.Finalize(recorder, _finishing(recorder), exitpriority=100)


def _finishing(recorder: Recorder) -> Callable[[], None]:
    ours = weakref.ref(recorder)

    def finish() -> None:
        present = ours()
        if present is not None:
            present._finish()

    return finish


def finish_all() -> None:
    """Empty the buffer of every recorder of this process, which is killed next."""
    for recorder in list(_recorders):
        recorder._finish(wait=False)
