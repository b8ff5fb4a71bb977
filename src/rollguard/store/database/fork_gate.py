"""Forks beside SQLite: no connection of this process, and no thread inside SQLite, while it forks.

SQLite notes for the whole process which locks it holds on a file. A fork copies these notes, and the locks themselves
it does not copy. So a child that is forked in the midst of a write waits for ever for a writer it does not have; and
one that is forked beside an idle connection believes in a lock that the others do not see, until one of them removes
the write-ahead log under it, with all that it commits from then on. Therefore whoever is inside SQLite is waited for,
and every connection is closed before a fork; the next use opens a new one.

References:
    https://www.sqlite.org/howtocorrupt.html, section 2.6, "Carrying an open database connection across a fork()".
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol

from rollguard.errors import StoreUnavailable

logger = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that a fork waits for those who are inside SQLite


class Connected(Protocol):
    """Something with connections to a SQLite file."""

    def close_before_fork(self) -> None:
        """Close every connection. Nobody is using one."""


class _Gate:
    """Many may be inside at once, and while a fork is made nobody is."""

    def __init__(self) -> None:
        self._connected: weakref.WeakSet[Connected] = weakref.WeakSet()
        self._own = threading.local()
        self._changed = threading.Condition()
        self._inside = 0
        self._forking = False
        self._unsafe = False

    def close_before_fork(self, connected: Connected) -> None:
        """Have the connections of an object closed before each fork, for as long as it lives."""
        self._connected.add(connected)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Use SQLite inside; a fork waits until it is over.

        Raises:
            StoreUnavailable: this process was forked while SQLite was in use, so it cannot use it safely.
        """
        if self._unsafe:
            raise StoreUnavailable(
                f"process {os.getpid()} was forked in the midst of a SQLite transaction, so it cannot use SQLite; "
                "fork outside of transactions, or start it with multiprocessing's 'spawn'"
            )
        depth: int = getattr(self._own, "depth", 0)
        if not depth:
            with self._changed:
                self._changed.wait_for(lambda: not self._forking)
                self._inside += 1
        self._own.depth = depth + 1
        try:
            yield
        finally:
            self._own.depth = depth
            if not depth:
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    def shut(self) -> None:
        """Before a fork: let nobody in, wait for those inside, and close every connection."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)  # another thread's fork
            self._forking = True
            safe = not self._am_inside and self._changed.wait_for(lambda: not self._inside, PATIENCE)
        self._own.unsafe = not safe
        if not safe:
            logger.warning("a process is forked in the midst of a SQLite transaction, so it will not use SQLite")
            return
        for connected in list(self._connected):
            try:
                connected.close_before_fork()
            except Exception:  # an error in here would be nobody's to catch
                logger.exception(
                    "a connection to SQLite could not be closed, so the forked process will not use SQLite"
                )
                self._own.unsafe = True

    def open(self) -> None:
        """After a fork, in the parent: let everybody in again."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def begin_anew(self) -> None:
        """After a fork, in the child: its only thread is the one that forked."""
        self._changed = threading.Condition()
        self._inside = int(self._am_inside)
        self._forking = False
        self._unsafe = self._own.unsafe

    @property
    def _am_inside(self) -> bool:
        return getattr(self._own, "depth", 0) > 0


sqlite_gate = _Gate()
os.register_at_fork(before=sqlite_gate.shut, after_in_parent=sqlite_gate.open, after_in_child=sqlite_gate.begin_anew)
