"""Which version of each tool is live, for folders that follow, and notification when that changes.

On PostgreSQL the transaction that moves a pointer notifies (LISTEN/NOTIFY). On SQLite a counter that every commit of
any process changes (`PRAGMA data_version`) is read four times a second, which costs microseconds.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from rollguard.errors import StoreUnavailable
from rollguard.store.database.change_feed import Listening
from rollguard.store.database.engine import Database
from rollguard.store.database.fork_gate import sqlite_gate
from rollguard.store.schema import tool_deployments as d
from rollguard.store.schema import tool_versions as v
from rollguard.store.versions import versions

_POLL_EVERY = 0.25  # seconds between two reads of SQLite's counter


class Pointer(NamedTuple):
    """The live version of a tool. `deployment_id` rises with every move of the pointer."""

    deployment_id: int
    tool_name: str
    version_number: int
    sha256: str


class Pointers:
    """The live pointers of all tools."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def moved_since(self, deployment_id: int) -> list[Pointer]:
        """Return the pointers that a later deployment moved, in that order."""
        query = (
            sa.select(d.c.deployment_id, d.c.tool_name, d.c.version_number, v.c.sha256)
            .join(v, (v.c.tool_name == d.c.tool_name) & (v.c.version_number == d.c.version_number))
            .where(d.c.ended_at.is_(None), d.c.deployment_id > deployment_id)
            .order_by(d.c.deployment_id)
        )
        with self._database.read() as connection:
            return [Pointer(*row) for row in connection.execute(query)]

    def while_live(self, pointer: Pointer, act: Callable[[], bool]) -> bool:
        """Call `act` while nobody can move the pointer, if it has not moved since it was read.

        Returns:
            What `act` returned; False if the pointer has moved.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, pointer.tool_name)
            live = versions.live(connection, pointer.tool_name)
            return live is not None and live.deployment_id == pointer.deployment_id and act()

    def moves(self) -> Moves | None:
        """Return what reports moved pointers; None for a database in memory, where no other process can move one."""
        if self._database.dialect == "sqlite" and self._database.path is None:
            return None
        return _Listening(self._database) if self._database.dialect == "postgresql" else _Polling(self._database)


class Moves(Protocol):
    """Reports that pointers may have moved."""

    def wait(self, timeout: float) -> bool:
        """Wait until a pointer may have moved, for at most `timeout` seconds. The first call begins to listen.

        Returns:
            Whether to read the pointers now.

        Raises:
            StoreUnavailable: the database cannot be reached; call again to listen anew.
        """

    def interrupt(self) -> None:
        """End a `wait` soon, in whichever thread it is, and every later one at once."""

    def close(self) -> None:
        """Stop listening."""


class _Listening:
    """PostgreSQL. It always asks for a read, because some connection poolers drop notifications."""

    def __init__(self, database: Database) -> None:
        self._listening = Listening(database, versions.CHANNEL, "deployments")
        self.interrupt, self.close = self._listening.interrupt, self._listening.close

    def wait(self, timeout: float) -> bool:
        self._listening.wait(timeout)
        return True


class _Polling:
    """SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._interrupted = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._version, self._newest = -1, -1
        sqlite_gate.close_before_fork(self)

    def wait(self, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while not self._interrupted.is_set():
            try:
                with sqlite_gate.inside():
                    moved = self._moved()
            except sqlite3.Error as error:
                self.close()
                raise StoreUnavailable(f"{self._database} cannot be read for new deployments: {error}") from error
            if moved:
                return True
            left = end - time.monotonic()
            if left <= 0:
                break
            self._interrupted.wait(min(_POLL_EVERY, left))
        return False

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        self.close_before_fork()
        self._newest = -1

    def close_before_fork(self) -> None:
        connection, self._connection, self._version = self._connection, None, -1
        if connection is not None:
            connection.close()

    def _moved(self) -> bool:
        if self._connection is None:
            # Not one of the pool: a read through the pool makes this process's recorder store its batch early.
            self._connection = _opened(Path(self._database.path or ""))
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        (newest,) = self._connection.execute("SELECT COALESCE(MAX(deployment_id), 0) FROM tool_deployments").fetchone()
        moved, self._version, self._newest = newest != self._newest, version, newest
        return bool(moved)


def _opened(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never creates a file
    return sqlite3.connect(uri, uri=True, timeout=0.05, check_same_thread=False, isolation_level=None)
