"""Notes that wait to be stored, and the batch of them that is being stored."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from rollguard.model.execution import Execution
from rollguard.model.log import EXITS, logger_of

logger = logger_of(__name__)

Note = tuple[Any, ...]
"""A call as its caller records it: the fields of an `Execution` in order, `executed_at` in seconds since 1970.

It is a plain tuple, the cheapest for the caller; `failed_at` and `traceback` may be left out at its end. Payloads are
JSON already, because the tool could still change them, but for parameters that are `Payloads.is_simple`.
"""


class Buffer:
    """The notes of one recorder, which its callers append and one thread at a time stores.

    Args:
        batch_size: notes stored together.
        complete: makes an execution of a note.
        count_lost: called for each note that can't be stored; it is logged here.

    Attributes:
        notes: those that wait; callers append to it directly.
    """

    def __init__(self, batch_size: int, complete: Callable[[Note], Execution], count_lost: Callable[[], None]) -> None:
        self.notes: deque[Note] = deque()
        self._batch_size, self._complete, self._count_lost = batch_size, complete, count_lost
        self._batch: list[Any] = []  # notes or rows that are being stored
        self._taken = 0  # notes ever taken
        self._emptying = _Owned()

    def empty(self, deliver: Callable[[list[Execution]], int]) -> int:
        """Store the notes that wait, in batches. Return their number, with what `deliver` returns."""
        if self._emptying.owned():
            return 0
        end, emptied = len(self.notes) + self._taken, 0  # not later notes, which might never end
        with self._emptying:  # also with an empty buffer: another thread may be storing a batch
            while self._batch or (self.notes and self._taken < end):
                rows = self._next_batch()
                emptied += len(rows) + deliver(rows)
                self._batch.clear()
        return emptied

    def is_full_batch(self) -> bool:
        """Return whether as many notes wait as are stored together."""
        return len(self.notes) >= self._batch_size

    def _next_batch(self) -> list[Any]:
        """Return the next notes as rows; the notes of an interrupted batch (Ctrl-C) again, with the same ids."""
        if not self._batch:
            number = min(len(self.notes), self._batch_size)
            self._taken += number
            # In one step, so that an interruption leaves each note in the buffer or in the batch.
            self._batch.extend(islice(iter(self.notes.popleft, None), number))
        self._batch[:] = self.rows(self._batch)
        return self._batch

    def rows(self, notes: Iterable[Any]) -> list[Execution]:
        """Return notes as executions. A note that fails is logged and counted as lost."""
        rows = []
        for note in notes:
            try:
                rows.append(note if isinstance(note, Execution) else self._complete(note))
            except EXITS:
                raise
            except BaseException:  # a tool's error may have any text, of any class
                logger.exception("an execution of %r could not be recorded", note[0])
                self._count_lost()
        return rows


class _Owned:
    """A lock that knows whether this thread holds it: storing reads, and reading would store again."""

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
