"""Restores outside the folder: one at a time for each tool, numbered, and remembered until the books agree.

A call to a program that is not ours takes too long to hold a transaction open, so a lease stands for the tool's lock.
A holder that was only slow, and not dead, is told apart by its sequence number: the outside may refuse a lower one
than it has seen.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.store import versions
from rollguard.store.engine import Database
from rollguard.store.journal import OPEN
from rollguard.store.records import Unsettled
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import tool_actuations as a


class Actuations:
    """The table `tool_actuations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, tool_name: str, *, holder: str, until: datetime, now: datetime) -> int | None:
        """Take the lease before a call outside; from here on it is unsettled what is live there.

        Returns:
            The sequence number of the call; None while another holds the lease.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            return take(connection, tool_name, holder=holder, until=until, now=now)

    def release(self, tool_name: str, *, holder: str) -> None:
        """Give the lease back; what is live outside stays unsettled."""
        with self._database.write() as connection:
            _update(connection, tool_name, a.c.held_by == holder, held_by=None, held_until=None)

    def unsettled(self, now: datetime | None = None) -> list[Unsettled]:
        """Tools of which nobody knows what is live outside, and no rollback under way will tell.

        Args:
            now: only those whose next attempt is due and whose lease is free; by default all.
        """
        under_way = sa.exists().where(r.c.tool_name == a.c.tool_name, r.c.state.in_(OPEN))
        query = sa.select(a).where(a.c.unsettled_since.is_not(None), ~under_way).order_by(a.c.tool_name)
        if now is not None:
            query = query.where(
                sa.or_(a.c.held_until.is_(None), a.c.held_until <= now),
                sa.or_(a.c.next_attempt_at.is_(None), a.c.next_attempt_at <= now),
            )
        with self._database.read() as connection:
            return [
                Unsettled(row.tool_name, row.unsettled_since, row.attempts, row.last_error)
                for row in connection.execute(query)
            ]

    def settle(self, tool_name: str, *, holder: str, deployment_id: int | None) -> bool:
        """The outside has what the books say. False where the books have moved on meanwhile."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            live = versions.live(connection, tool_name)
            if (live.deployment_id if live else None) != deployment_id:
                _update(connection, tool_name, a.c.held_by == holder, held_by=None, held_until=None)
                return False
            settled(connection, tool_name)
            return True

    def postpone(self, tool_name: str, *, holder: str, error: str, at: datetime) -> None:
        """The outside did not take what is live; it is asked again at `at`."""
        with self._database.write() as connection:
            _update(
                connection,
                tool_name,
                a.c.held_by == holder,
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
        values = {"sequence": 1, "held_by": holder, "held_until": until, "unsettled_since": now, "attempts": 0}
        connection.execute(sa.insert(a).values(tool_name=tool_name, **values))
        return 1
    if known.held_until is not None and known.held_until > now:
        return None
    sequence = int(known.sequence) + 1
    _update(
        connection,
        tool_name,
        a.c.sequence == known.sequence,
        sequence=sequence,
        held_by=holder,
        held_until=until,
        unsettled_since=known.unsettled_since or now,
    )
    return sequence


def sequence_of(connection: Connection, tool_name: str) -> int | None:
    """The sequence number of the latest call outside; None where there was none."""
    return connection.scalar(sa.select(a.c.sequence).where(a.c.tool_name == tool_name))


def settled(connection: Connection, tool_name: str) -> None:
    """What is live outside is what the books say from now on, and the lease is free."""
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


def _update(connection: Connection, tool_name: str, condition: sa.ColumnElement[bool], **values: Any) -> None:
    connection.execute(sa.update(a).where(a.c.tool_name == tool_name, condition).values(**values))
