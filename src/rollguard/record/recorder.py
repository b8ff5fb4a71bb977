"""Record calls in the background: callers append notes to a buffer, one thread brings them to the database."""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from rollguard.errors import InvalidInput, StoreError
from rollguard.model.execution import Execution
from rollguard.model.in_flight import CallInFlight
from rollguard.model.log import EXITS, logger_of
from rollguard.model.split import Drawn, Ran
from rollguard.record.buffer import Buffer, Note
from rollguard.record.definitions import Definitions
from rollguard.record.delivery import RETRY_AFTER, Delivery
from rollguard.record.endings import CONTROL_FLOW, Parents, checked_paths
from rollguard.record.in_flight import Given, InFlight, outlived
from rollguard.record.kept import Kept
from rollguard.record.process_end import finish_as_child, finish_at_exit
from rollguard.record.sink import Sink
from rollguard.record.spool import Spool
from rollguard.record.unwatched import Unwatched
from rollguard.store import text_of

logger = logger_of(__name__)

_CHECK_BATCH_EVERY = 0.1  # seconds between two checks of the batch's size
_CHECK_SPOOL_EVERY = 60.0  # seconds; another process may have left executions there
_PATIENCE = 10.0  # seconds that the end of a process waits for the thread
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 60.0  # seconds after an error of the thread's own


class Recorder:
    """Records executions without delaying their callers.

    A caller appends a note to a bounded buffer. The first note starts a thread, which stores notes in batches. If the
    buffer is full or the database away, notes go to the spool, a file. The thread tries the database every
    `retry_after` seconds and stores the spool when it is back. Rows may be stored in another order than their calls.
    The caller never gets an exception. The buffer is emptied every `flush_interval` seconds, when a batch is full,
    before this process reads from the store, and at exit. A signal that kills the process loses at most the notes since
    then (see `install_signal_handlers`).

    If no thread can be started (the system's limit is reached, or the interpreter is ending), callers store their
    executions themselves.

    Args:
        store: where executions are stored.
        spool: where they wait while the database is away.
        durable: True writes every execution to the disk before its call returns.
        flush_interval: seconds that a note waits at most before it is stored.
        batch_size: notes stored in one transaction.
        buffer_size: notes that wait at most; further ones go to the spool.
        retry_after: seconds before an unreachable database is tried again.
        unwatched: logs that nobody watches; asked by the thread, or by callers if `durable`.
        control_flow: import paths of exceptions by which tools steer their framework. A call that raises one of them is
            recorded as neither success nor failure.
        clock: the clock that measures durations, by which calls that do not end are looked after.

    Attributes:
        in_flight: the calls that began and have not ended.
        parents: whose cancellations were counted.
        resting: whether the thread waits, so that somebody has to wake it.
        settle: called with the tool and the start of each call that is recorded before its end.
    """

    def __init__(
        self,
        store: Sink,
        spool: Spool,
        *,
        durable: bool = False,
        flush_interval: float = 0.1,
        batch_size: int = 1_000,
        buffer_size: int = 50_000,
        retry_after: float = RETRY_AFTER,
        unwatched: Unwatched | None = None,
        control_flow: Sequence[str] = CONTROL_FLOW,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store, self._is_simple = store, store.executions.is_simple
        self._definitions = Definitions(store)
        self._delivery = Delivery(store, spool, self._definitions, retry_after=retry_after, durable=durable)
        self._through = durable  # also at the end of the process, when nothing empties the buffer any more
        self._flush_interval = flush_interval
        self._batch_size = batch_size
        self._buffer_size = buffer_size
        self._retry_after = max(retry_after, _CHECK_BATCH_EVERY)
        self._unwatched = Unwatched(store) if unwatched is None else unwatched
        self.parents = Parents()
        self._clock = clock
        self.settle: Callable[[str, float], None] = lambda _name, _began: None
        self.begin_anew()
        self.control_flow = checked_paths(control_flow)
        if not durable:
            store.database.before_reading(self.empty)
        finish_at_exit(self)

    def __del__(self) -> None:
        self.empty()
        self._work.set()  # the thread finds its recorder gone, and ends

    @property
    def spool(self) -> Spool:
        """Return the spool, where executions wait while the database is away."""
        return self._delivery.spool

    @property
    def refused(self) -> Spool:
        """Return the spool of executions that the database refused although it was there."""
        return self._delivery.refused

    @property
    def lost(self) -> int:
        """Return how many executions could be neither stored nor spooled; each was logged as an error."""
        return self._delivery.lost

    # --- recording -------------------------------------------------------------------------------------------------

    def note(self, note: Note) -> None:
        """Record one call. Raise nothing; wait only for the spool, if the buffer is full."""
        if self._through:
            self._write_through(self._buffer.rows([note]))
            self._unwatched.resume()
            self._unwatched.check()  # this caller waits for the database anyway
            return
        notes = self._notes
        if len(notes) >= self._buffer_size:
            self._delivery.keep(self._buffer.rows([note]))
            return
        notes.append(note)
        if self.resting:
            self._wake()

    def deliver(self, rows: list[Execution]) -> None:
        """Store complete executions, or keep them in the spool. Raise nothing."""
        self._delivery.deliver(rows)

    def take(self, rows: list[Execution]) -> int | None:
        """Store complete executions, or keep them in the spool, to acknowledge them; see `Delivery.take`."""
        new = self._delivery.take(rows)
        if new is None and self.resting and not self._over.is_set():
            self._wake()  # the thread tries again until the database is back
        return new

    def record(self, **execution: Any) -> None:
        """Record one execution, with the arguments of `ExecutionStore.store_tool_execution`. Raise nothing."""
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
        if self._delivery.away and self.resting and not self._over.is_set():
            self._wake()  # the thread tries again until the database is back

    def encoded(self, tool_name: str, what: str, value: Any) -> str | None:
        """Return parameters or a result as they are stored; encoded now, because they may change later."""
        return self._store.executions.encoded(tool_name, what, value)

    def given(self, tool_name: str, kept: Kept, parameters: dict[str, Any]) -> Given:
        """Return the parameters of a call that are recorded: encoded now, or as they are if nobody can change them."""
        names = kept.left_out
        if names is not None and (not names or names.isdisjoint(parameters)) and self._is_simple(parameters):
            return parameters
        recorded, left_out = kept.parted(parameters)
        return self._store.executions.encoded(tool_name, "parameters", recorded, left_out)

    def error_text(self, error: BaseException | str, given: Given) -> str:
        """Return the text of a call's error as it is stored: redacted, beside its encoded parameters."""
        return self._store.executions.error_text(error if isinstance(error, str) else text_of(error), given)

    def place(self, error: BaseException, given: Given) -> tuple[str | None, str | None]:
        """Return where a call failed as it is stored, beside its encoded parameters."""
        return self._store.executions.place(error, given)

    # --- calls that have not ended ---------------------------------------------------------------------------------

    def define(self, tool_name: str, timeout_seconds: float | None) -> None:
        """Remember the time limit of a tool's calls, which is a part of what counts as its failure."""
        self._definitions.define(tool_name, timeout_seconds)

    def began(self, timeout_seconds: float | None, ran: Ran = None) -> None:
        """Look after a call that began: it may not end.

        If `durable`, only a call with a limit needs the thread, and one that was drawn: a long one is to be known.
        """
        if not self.resting or self._over.is_set():
            return
        if not self._through or timeout_seconds is not None or isinstance(ran, Drawn):
            self._wake()

    def calls_in_flight(self) -> list[CallInFlight]:
        """Return the calls of this recorder that began and have not ended, the oldest first."""
        return self.in_flight.shown(self._clock())

    def check_in_flight(self) -> None:
        """Record the calls that outlived their time limit, and publish the long ones. Raise nothing."""
        with self._looking:
            now = self._clock()
            for started, flight in self.in_flight.take_overdue(now):
                self.settle(flight[0].name, flight[2])
                self.note(outlived(started, flight, now))
            published = self.in_flight.to_publish(now)
            if published is not None:
                self._publish(published, now)

    def _publish(self, published: list[CallInFlight], now: float) -> None:
        try:
            self._store.in_flight.publish(self._process, published)
        except StoreError as error:
            logger.debug("calls in flight are not published: %s", error)
            self.in_flight.publish_again(now)

    # --- storing ---------------------------------------------------------------------------------------------------

    def flush(self, *, wait: bool = True) -> int:
        """Store the notes in the buffer and the rows in the spool.

        Args:
            wait: whether to wait for another process that is storing the spool. If True, every earlier note is in the
                database afterwards. False does not wait for a slow or stopped process, and leaves the rows to it.

        Returns:
            Number of executions that were waiting, without those that another process stored.

        Raises:
            StoreUnavailable: the database is away; every execution is kept.
        """
        return self._buffer.empty(self._delivery.deliver) + self._delivery.flush(wait=wait)

    def empty(self) -> None:
        """Bring the notes in the buffer to the database or, while it is away, to the spool. Raise nothing."""
        self._buffer.empty(self._delivery.deliver)

    # --- the thread ------------------------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Begin with an empty buffer and no thread. In a forked child, the parent stores the earlier notes."""
        self._buffer = Buffer(self._batch_size, self._store.executions.of_call, self._delivery.count_lost)
        self._notes = self._buffer.notes
        self._work = threading.Event()
        self._over = threading.Event()  # the thread is to end
        self.resting = True
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._process = uuid.uuid4().hex
        self._looking = threading.Lock()
        self.in_flight = InFlight()
        self.running = self.in_flight.calls  # a part of every call: one look-up less

    def _wake(self) -> None:
        self.resting = False
        self._unwatched.resume()
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
                logger.warning("executions are stored by their callers, because no thread can be started: %s", error)
                self._thread = None
            else:
                finish_as_child(self)
                return
        self.resting = True
        self.empty()

    def _thread_ended(self) -> None:
        """Start another thread if this one ended although the recorder goes on, and say so."""
        if self._over.is_set():
            return
        logger.error("the thread that stores executions ended, and another one starts")
        self._thread = None
        self._wake()

    def _rest(self) -> threading.Event:
        """Prepare the thread to wait for notes. A note that arrives at this moment wakes it at once."""
        self._work.clear()
        self.resting = True
        if self._notes or self._over.is_set():
            self._wake()
        return self._work

    def finish(self, *, wait: bool = True) -> None:
        """Empty the buffer and end the thread, because the process is ending.

        Args:
            wait: False if the process is killed next, so that the thread need not end first.
        """
        self._through = True
        self.empty()
        if self.in_flight.published:
            self._publish([], self._clock())
        self._over.set()
        self._work.set()
        if wait and self._thread is not None:
            self._thread.join(_PATIENCE)
        self.empty()  # notes that arrived meanwhile


def _store_notes(ours: weakref.ref[Recorder]) -> None:
    """Store notes until the recorder is gone; the thread does not keep it alive. It survives any error."""
    pause = _FIRST_PAUSE
    try:
        while (recorder := ours()) is not None:
            over = recorder._over
            del recorder
            try:
                _store_next(ours, over)
            except EXITS:
                raise
            except BaseException:
                logger.exception("executions could not be stored, which is tried again in %g s", pause)
                over.wait(pause)
                pause = min(_LAST_PAUSE, 2 * pause)
            else:
                pause = _FIRST_PAUSE
            if over.is_set():
                return
    finally:
        if (recorder := ours()) is not None:
            recorder._thread_ended()


def _store_next(ours: weakref.ref[Recorder], over: threading.Event) -> None:
    """Wait for notes, and store them."""
    recorder = ours()
    if recorder is None:
        return
    work, interval, spool, retry_after, due = (
        recorder._rest(),
        recorder._flush_interval,
        recorder.spool,
        recorder._retry_after,
        recorder.in_flight.next_due(recorder._clock()),
    )
    del recorder
    if work.wait(min(retry_after if spool.pending else _CHECK_SPOOL_EVERY, due)):
        _gather(ours, interval, over)
    if not over.is_set() and (recorder := ours()) is not None:
        recorder.check_in_flight()
        recorder.empty()
        recorder._delivery.try_again()
        recorder._unwatched.check()


def _gather(ours: weakref.ref[Recorder], interval: float, over: threading.Event) -> None:
    """Wait for the interval, or until a batch is full, to store many notes together."""
    end = time.monotonic() + interval
    while not over.is_set() and (left := end - time.monotonic()) > 0:
        recorder = ours()
        if recorder is None or recorder._buffer.is_full_batch():
            return
        recorder.check_in_flight()
        del recorder
        over.wait(min(left, _CHECK_BATCH_EVERY))
