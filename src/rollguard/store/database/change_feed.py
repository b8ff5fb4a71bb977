"""Learning at once that executions arrived, whichever process recorded them.

On PostgreSQL the trigger that counts executions notifies (LISTEN/NOTIFY) of tools under watch. On SQLite a counter that
every commit of any process changes (`PRAGMA data_version`) is looked at 20 times a second, which costs microseconds.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from rollguard.errors import StoreUnavailable
from rollguard.store.database.engine import Database
from rollguard.store.database.fork_gate import sqlite_gate

if TYPE_CHECKING:
    import psycopg

_Found = TypeVar("_Found")

CHANNEL = "rollguard_executions"
_HIGHEST = "SELECT COALESCE(MAX(id), 0) FROM tool_executions"
_NEW = "SELECT DISTINCT tool_name FROM tool_executions WHERE id > :last AND id <= :highest"


class Arrivals(Protocol):
    """Tells which tools were executed."""

    def wait(self, timeout: float) -> set[str]:
        """Wait until executions arrive, at most so many seconds.

        Returns:
            The tools whose executions arrived since the last call; empty after the timeout or an interruption. The
            first call begins to listen.

        Raises:
            StoreUnavailable: the database cannot be reached; call again to listen anew.
        """

    def interrupt(self) -> None:
        """End a `wait` soon, in whichever thread it is, and every later one at once."""

    def close(self) -> None:
        """Stop listening."""


def arrivals_in(database: Database) -> Arrivals:
    """Return what reports arrivals in this database."""
    return Listening(database, CHANNEL, "executions") if database.dialect == "postgresql" else _Executed(database)


class Polling(ABC, Generic[_Found]):
    """SQLite: asks again whenever a commit of any process changed the file.

    Attributes:
        every: seconds between two checks of the counter.
        patience: seconds to wait for another process's lock.
        what: what it waits for, in words.
    """

    every: float
    patience: float
    what: str

    def __init__(self, database: Database) -> None:
        self._database = database
        self._interrupted = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        sqlite_gate.close_before_fork(self)

    @abstractmethod
    def _found(self) -> _Found:
        """Ask what is new since the last time; falsy where nothing is."""

    def wait(self, timeout: float) -> _Found | None:
        """Wait until something is new, at most so many seconds; None after the timeout or an interruption."""
        end = time.monotonic() + timeout
        while not self._interrupted.is_set():
            self._database.renew_if_replaced()
            try:
                with sqlite_gate.inside():
                    found = self._found() if self._changed() else None
            except sqlite3.Error as error:
                self.close()
                raise StoreUnavailable(f"{self._database} cannot be read for new {self.what}: {error}") from error
            if found:
                return found
            left = end - time.monotonic()
            if left <= 0:
                break
            self._interrupted.wait(min(self.every, left))
        return None

    def interrupt(self) -> None:
        """See `Arrivals`."""
        self._interrupted.set()

    def close(self) -> None:
        """See `Arrivals`."""
        self.close_before_fork()

    def close_before_fork(self) -> None:
        """Close the connection; the next `wait` opens another."""
        connection, self._connection, self._version = self._connection, None, -1
        if connection is not None:
            with self._database.closing():
                connection.close()

    def _changed(self) -> bool:
        if self._database.path is None:  # in memory there is only the one connection
            return True
        if self._connection is None:
            # Not one of the pool: reading through that would have this process's recorder store its batch early.
            self._connection = self._database.connect_sqlite(self.patience)
        before, (self._version,) = self._version, self._connection.execute("PRAGMA data_version").fetchone()
        return before != self._version

    def _ask(self, sql: str, **values: int) -> list[Any]:
        if self._connection is not None:
            return self._connection.execute(sql, values).fetchall()
        with self._database.read() as connection:
            return list(connection.execute(sa.text(sql), values))


class _Executed(Polling[set[str]]):
    every, patience, what = 0.05, 5.0, "executions"
    _last = -1

    def wait(self, timeout: float) -> set[str]:
        return super().wait(timeout) or set()

    def _found(self) -> set[str]:
        ((highest,),) = self._ask(_HIGHEST)
        last, self._last = self._last, highest  # lower than before where rows were deleted: their ids are given again
        if last < 0:
            return set()
        return {row[0] for row in self._ask(_NEW, last=last, highest=highest)}


class Listening:
    """PostgreSQL.

    Args:
        database: whose notifications.
        channel: what is listened to.
        what: what is notified of, in words.
    """

    def __init__(self, database: Database, channel: str, what: str) -> None:
        import psycopg

        self._database, self._channel, self._what = database, channel, what
        self._errors = psycopg.Error
        self._connection: psycopg.Connection[Any] | None = None
        self._interrupted = threading.Event()
        self._wakes: tuple[socket.socket, ...] = ()  # two ends: who waits, and who wakes it

    def wait(self, timeout: float) -> set[str]:
        """See `Arrivals`; what is returned are the notes."""
        end = time.monotonic() + timeout
        try:
            connection = self._listening()
            while not self._interrupted.is_set() and (left := end - time.monotonic()) > 0:
                tools = {note.payload for note in connection.notifies(timeout=0)}
                if tools:
                    return tools
                with selectors.DefaultSelector() as readable:
                    readable.register(connection, selectors.EVENT_READ)
                    readable.register(self._wakes[0], selectors.EVENT_READ)
                    readable.select(left)
        except self._errors as error:
            self.close()
            self._database.secrets.clean(error)
            raise StoreUnavailable(f"{self._database} cannot be listened to for new {self._what}: {error}") from error
        return set()

    def interrupt(self) -> None:
        """See `Arrivals`."""
        self._interrupted.set()
        with contextlib.suppress(OSError):  # it is closed at this moment
            for wake in self._wakes[1:]:
                wake.send(b"!")

    def close(self) -> None:
        """See `Arrivals`."""
        if self._connection is not None:
            with contextlib.suppress(self._errors):
                self._connection.close()
        self._connection = None
        wakes, self._wakes = self._wakes, ()
        for end in wakes:
            end.close()

    def _listening(self) -> psycopg.Connection[Any]:
        import psycopg

        if self._connection is None:
            self._connection = psycopg.connect(
                self._database.url.set(drivername="postgresql").render_as_string(hide_password=False),
                autocommit=True,
                connect_timeout=5,
                options=self._database.connect_options,
            )
            self._wakes = socket.socketpair()
            self._connection.execute(f"LISTEN {self._channel}")
        return self._connection
