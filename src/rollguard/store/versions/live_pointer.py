"""Which version of each tool is live, for folders that follow, and learning at once that it moved.

On PostgreSQL the transaction that moves a pointer notifies (LISTEN/NOTIFY). On SQLite a counter that every commit of
any process changes (`PRAGMA data_version`) is looked at four times a second, which costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from rollguard.store.database.change_feed import Listening, Polling
from rollguard.store.database.engine import Database
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import tool_deployments as d
from rollguard.store.schema import tool_versions as v
from rollguard.store.versions import versions
from rollguard.store.versions.channel import CHANNEL


class Pointer(NamedTuple):
    """What is live of a tool. The deployment's id rises with every move of it."""

    deployment_id: int
    tool_name: str
    version_number: int
    sha256: str


class Pointers:
    """The live pointers of all tools."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def moved_since(self, deployment_id: int) -> list[Pointer]:
        """The pointers that were moved by a later deployment, in their order."""
        query = (
            sa.select(d.c.deployment_id, d.c.tool_name, d.c.version_number, v.c.sha256)
            .join(v, (v.c.tool_name == d.c.tool_name) & (v.c.version_number == d.c.version_number))
            .where(d.c.ended_at.is_(None), d.c.deployment_id > deployment_id)
            .order_by(d.c.deployment_id)
        )
        with self._database.read() as connection:
            return [Pointer(*row) for row in connection.execute(query)]

    def withdrawn(self) -> list[Pointer]:
        """The tools that were withdrawn and not deployed since, with the versions that were."""
        live = sa.exists().where(d.c.tool_name == r.c.tool_name, d.c.ended_at.is_(None))
        query = (
            sa.select(r.c.rollback_id, r.c.tool_name, v.c.version_number, v.c.sha256)
            .join(v, (v.c.tool_name == r.c.tool_name) & (v.c.version_number == r.c.from_version))
            .where(r.c.state == "finished", r.c.to_version.is_(None), ~live)
        )
        with self._database.read() as connection:
            return [Pointer(*row) for row in connection.execute(query)]

    def while_withdrawn(self, pointer: Pointer, act: Callable[[], None]) -> None:
        """Do something while nobody can deploy a tool, if it is still withdrawn."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, pointer.tool_name)
            if versions.live(connection, pointer.tool_name) is None:
                act()

    def while_live(self, pointer: Pointer, act: Callable[[], bool]) -> bool:
        """Do something while nobody can move the pointer, if it is still where it was seen.

        Returns:
            What `act` returned; False where the pointer has moved on.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, pointer.tool_name)
            live = versions.live(connection, pointer.tool_name)
            return live is not None and live.deployment_id == pointer.deployment_id and act()

    def moves(self) -> Moves | None:
        """What tells that a pointer moved; None for a database in memory, where nobody else can move one."""
        if self._database.dialect == "sqlite" and self._database.path is None:
            return None
        return _Listening(self._database) if self._database.dialect == "postgresql" else _Moved(self._database)


class Moves(Protocol):
    """Tells that pointers may have moved."""

    def wait(self, timeout: float) -> bool:
        """Wait until a pointer may have moved, at most so many seconds. The first call begins to listen.

        Returns:
            Whether it is worth asking for them now.

        Raises:
            StoreUnavailable: the database cannot be reached; call again to listen anew.
        """

    def interrupt(self) -> None:
        """End a `wait` soon, in whichever thread it is, and every later one at once."""

    def close(self) -> None:
        """Stop listening."""


class _Listening:
    """PostgreSQL. Whether it was notified or not it is worth asking: some poolers swallow notifications."""

    def __init__(self, database: Database) -> None:
        self._listening = Listening(database, CHANNEL, "deployments")
        self.interrupt, self.close = self._listening.interrupt, self._listening.close

    def wait(self, timeout: float) -> bool:
        self._listening.wait(timeout)
        return True


class _Moved(Polling[bool]):
    every, patience, what = 0.25, 0.05, "deployments"
    _newest = -1

    def wait(self, timeout: float) -> bool:
        return bool(super().wait(timeout))

    def close(self) -> None:
        super().close()
        self._newest = -1

    def _found(self) -> bool:
        ((newest,),) = self._ask(
            "SELECT COALESCE(MAX(deployment_id), 0) + (SELECT COUNT(*) FROM deployment_rollbacks "
            "WHERE state = 'finished' AND to_version IS NULL) "
            "+ (SELECT COALESCE(SUM(revision), 0) FROM rollouts) FROM tool_deployments"
        )
        before, self._newest = self._newest, newest
        return bool(newest != before)
