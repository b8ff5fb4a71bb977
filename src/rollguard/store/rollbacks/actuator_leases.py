"""Calls to actuators: one at a time for each tool, numbered, and recorded until the database and the target agree.

A call to another program takes too long to keep a transaction open, so a lease takes the place of the tool's lock.
A sequence number shows that a slow holder of the lease is out of date: the target may refuse a lower number than it has
seen. A target that does not may carry out the late request last. So a call that ends late counts as one more call, and
Rollguard requests the live version again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import DeploymentConflict
from rollguard.model.rollback import Unsettled
from rollguard.model.version import Deployment, Version
from rollguard.store.database.engine import Database
from rollguard.store.rollback_states import OPEN
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import tool_actuations as a
from rollguard.store.versions import versions

_LONGEST = timedelta(days=1)  # no request to a target takes longer


class Actuations:
    """The table `tool_actuations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, tool_name: str, *, holder: str, until: datetime, now: datetime) -> int | None:
        """Take the lease before a call to the target, and mark the tool as unsettled.

        Returns:
            The sequence number of the call; None while another process holds the lease.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            return take(connection, tool_name, holder=holder, until=until, now=now)

    def release(self, tool_name: str, *, sequence: int, now: datetime) -> None:
        """Release the lease of a call; the tool stays unsettled."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            if not is_latest(connection, tool_name, sequence):
                _came_late(connection, tool_name, sequence, now)
                return
            _update(connection, tool_name, a.c.sequence == sequence, held_by=None, held_until=None)

    def unsettled(self, now: datetime | None = None) -> list[Unsettled]:
        """Return the tools whose target may run another version, and that have no rollback under way.

        Args:
            now: return only tools whose next attempt is due and whose lease is free; by default all.
        """
        under_way = sa.exists().where(r.c.tool_name == a.c.tool_name, r.c.state.in_(OPEN))
        query = sa.select(a).where(a.c.unsettled_since.is_not(None), ~under_way).order_by(a.c.tool_name)
        if now is not None:
            query = query.where(
                sa.or_(a.c.held_until.is_(None), a.c.held_until <= now, a.c.held_until > now + _LONGEST),
                sa.or_(a.c.next_attempt_at.is_(None), a.c.next_attempt_at <= now),
            )
        with self._database.read() as connection:
            return [
                Unsettled(row.tool_name, row.unsettled_since, row.attempts, row.last_error)
                for row in connection.execute(query)
            ]

    def settle(self, tool_name: str, *, sequence: int, deployment_id: int | None, now: datetime) -> bool:
        """Record that the target runs the recorded version.

        Returns:
            False if the target was called again since, or another deployment is live.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            if not is_latest(connection, tool_name, sequence):
                _came_late(connection, tool_name, sequence, now)
                return False
            live = versions.live(connection, tool_name)
            if (live.deployment_id if live else None) != deployment_id:
                _update(connection, tool_name, a.c.sequence == sequence, held_by=None, held_until=None)
                return False
            settled(connection, tool_name)
            return True

    def postpone(self, tool_name: str, *, sequence: int, error: str, at: datetime, now: datetime) -> None:
        """Record that the target did not acknowledge; the next attempt is at `at`, or now if others called since."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            if not is_latest(connection, tool_name, sequence):
                _came_late(connection, tool_name, sequence, now)
                return
            _update(
                connection,
                tool_name,
                a.c.sequence == sequence,
                held_by=None,
                held_until=None,
                attempts=a.c.attempts + 1,
                last_error=error,
                next_attempt_at=at,
            )


# --- on a connection, for transactions that do more ------------------------------------------------------------------


def take(connection: Connection, tool_name: str, *, holder: str, until: datetime, now: datetime) -> int | None:
    """`Actuations.take`; the caller holds the tool's lock."""
    known = connection.execute(sa.select(a).where(a.c.tool_name == tool_name)).one_or_none()
    if known is None:
        lease = {"held_by": _lease(1, holder), "held_until": until}
        values = {"tool_name": tool_name, "sequence": 1, "unsettled_since": now, "attempts": 0}
        connection.execute(sa.insert(a).values(**values, **lease))
        return 1
    if known.held_until is not None and now < known.held_until <= until:  # a later one is of a clock that is ahead
        return None
    sequence = int(known.sequence) + 1
    _update(
        connection,
        tool_name,
        a.c.sequence == known.sequence,
        sequence=sequence,
        held_by=_lease(sequence, holder),
        held_until=until,
        unsettled_since=known.unsettled_since or now,
    )
    return sequence


def sequence_of(connection: Connection, tool_name: str) -> int | None:
    """Return the sequence number of the latest call to the target; None if there was none."""
    return connection.scalar(sa.select(a.c.sequence).where(a.c.tool_name == tool_name))


def is_latest(connection: Connection, tool_name: str, sequence: int | None) -> bool:
    """Return whether that call is the latest call to the target."""
    return sequence_of(connection, tool_name) == sequence


def settling(
    version: Version, sequence: int, then: Callable[[Connection, Deployment], None] | None
) -> Callable[[Connection, Deployment], None]:
    """Return what to run in the transaction that makes a version live once the target runs it.

    It raises `DeploymentConflict` if the target was called again since, and otherwise marks the tool as settled.

    Args:
        sequence: the number of the call.
        then: what else to run in that transaction.
    """

    def begin(connection: Connection, deployment: Deployment) -> None:
        if not is_latest(connection, version.tool_name, sequence):
            raise DeploymentConflict(
                f"{version.tool_name}: putting version {version.version_number} in its place took so long that others "
                "were let in; check what is live and deploy again"
            )
        settled(connection, version.tool_name)
        if then is not None:
            then(connection, deployment)

    return begin


def _came_late(connection: Connection, tool_name: str, sequence: int, now: datetime) -> None:
    """Record that a call ended after others had taken over, so the target may have carried it out last.

    It counts as one more call, so that Rollguard does not believe what those others report.
    """
    its_own = a.c.held_by.startswith(_lease(sequence, ""))
    _update(connection, tool_name, its_own, held_by=None, held_until=None)
    since = sa.func.coalesce(a.c.unsettled_since, now)
    _update(connection, tool_name, sa.true(), sequence=a.c.sequence + 1, unsettled_since=since)


def settled(connection: Connection, tool_name: str) -> None:
    """Record that the target runs the recorded version, and release the lease."""
    _update(
        connection,
        tool_name,
        sa.true(),
        held_by=None,
        held_until=None,
        unsettled_since=None,
        next_attempt_at=None,
        attempts=0,
        last_error=None,
    )


def _lease(sequence: int, holder: str) -> str:
    """Return the holder of a lease: one call, because a process may make several at once."""
    return f"{sequence}:{holder}"


def _update(connection: Connection, tool_name: str, condition: sa.ColumnElement[bool], **values: Any) -> None:
    connection.execute(sa.update(a).where(a.c.tool_name == tool_name, condition).values(**values))
