"""Forks and SQLite: while a process forks it has no connection open, and no thread is inside SQLite.

SQLite keeps a list of the file locks that its process holds. A fork copies the list, but not the locks. So a child
forked during a write waits for ever for a writer that it does not have. A child forked beside an idle connection relies
on a lock that other processes do not see; when one of them removes the write-ahead log, the child's later commits are
lost. So a fork first waits for every thread inside SQLite and closes every connection; the next use opens a new one.

References:
    https://www.sqlite.org/howtocorrupt.html, section 2.6, "Carrying an open database connection across a fork()".
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol

from rollguard.errors import StoreBusy, StoreUnavailable
from rollguard.model.log import logger_of

logger = logger_of(__name__)

PATIENCE = 10.0  # seconds that a fork waits for threads inside SQLite
_AT_EXIT = 1.0  # seconds that the end of a program waits for them


class Connected(Protocol):
    """An object with connections to a SQLite file."""

    def close_before_fork(self) -> None:
        """Close every connection; no thread uses one."""


class _Gate:
    """Lets many threads inside at once, and none during a fork."""

    def __init__(self) -> None:
        self._connected: weakref.WeakSet[Connected] = weakref.WeakSet()
        self._own = threading.local()
        self._changed = threading.Condition()
        self._inside = 0
        self._forking = False
        self._unsafe = False

    def close_before_fork(self, connected: Connected) -> None:
        """Close the connections of an object before each fork, for as long as it lives."""
        self._connected.add(connected)

    def connected(self) -> list[Connected]:
        """Return what has connections."""
        return list(self._connected)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Use SQLite inside; a fork waits until the block ends.

        Raises:
            StoreUnavailable: this process was forked while SQLite was in use, so it cannot use it safely.
        """
        if self._unsafe:
            raise StoreUnavailable(
                f"process {os.getpid()} was forked during a SQLite transaction, so it cannot use SQLite; "
                "fork when no transaction is open, or start it with multiprocessing's 'spawn'"
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
        """Before a fork: let no thread in, wait for those inside, and close every connection."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)  # another thread's fork
            self._forking = True
            safe = not self.am_inside and self._changed.wait_for(lambda: not self._inside, PATIENCE)
        self._own.unsafe = not safe
        if not safe:
            logger.warning("a process is forked during a SQLite transaction, so it will not use SQLite")
            return
        try:
            self.close_all()
        except Exception:  # no caller could catch it here
            logger.exception("a connection to SQLite could not be closed, so the forked process will not use SQLite")
            self._own.unsafe = True

    def close_all(self) -> None:
        """Close every connection; no thread is inside."""
        for connected in self.connected():
            connected.close_before_fork()

    def close_at_exit(self) -> None:
        """Close what a program left open, as it is closed otherwise, not when its last reference goes."""
        if not self._unsafe and not self.am_inside:
            try:
                with self.alone(_AT_EXIT):
                    self.close_all()
            except StoreBusy:  # another thread is inside; the system closes what is left
                pass
            except Exception:
                logger.exception("a connection to SQLite could not be closed")

    @contextlib.contextmanager
    def alone(self, patience: float = PATIENCE) -> Iterator[None]:
        """Be inside while no other thread is.

        Args:
            patience: seconds that it waits for others.

        Raises:
            StoreBusy: another thread stays inside for too long.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._forking, patience):
                raise StoreBusy("another thread opens SQLite again, which takes too long")
            self._forking = True
        try:
            with self._changed:
                free = self._changed.wait_for(lambda: not self._inside, patience)
            if not free:
                raise StoreBusy("a transaction of another thread takes too long, so SQLite is not opened again yet")
            self._own.depth = 1
            yield
        finally:
            self._own.depth = 0
            self.open()

    @property
    def am_inside(self) -> bool:
        """Return whether this thread is inside."""
        return getattr(self._own, "depth", 0) > 0

    def open(self) -> None:
        """After a fork, in the parent: let threads in again."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def begin_anew(self) -> None:
        """After a fork, in the child: start anew with its only thread."""
        self._changed = threading.Condition()
        self._inside = int(self.am_inside)
        self._forking = False
        self._unsafe = self._own.unsafe


sqlite_gate = _Gate()
os.register_at_fork(before=sqlite_gate.shut, after_in_parent=sqlite_gate.open, after_in_child=sqlite_gate.begin_anew)
atexit.register(sqlite_gate.close_at_exit)
