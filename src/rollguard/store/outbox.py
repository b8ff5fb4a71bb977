"""Notifications: written with what they report, delivered afterwards, at least once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.notification import PendingNotification
from rollguard.store.database.engine import Database
from rollguard.store.schema import notifications as n

LEASE = timedelta(seconds=60)  # how long a process may take to deliver before another tries

LONGEST_PAUSE = timedelta(hours=1)  # between two attempts to deliver an event


def add(connection: Connection, event: dict[str, Any], now: datetime, *, wait: timedelta = timedelta(0)) -> None:
    """Write an event down inside the transaction that makes it true.

    Args:
        wait: how long it waits for details at most; `add_details` ends that.
    """
    add_all(connection, [event], now, wait=wait)


def add_all(
    connection: Connection, events: Sequence[dict[str, Any]], now: datetime, *, wait: timedelta = timedelta(0)
) -> None:
    """Write events down with one statement, inside the transaction that makes them true."""
    if events:
        rows = [{"event": event, "created_at": now, "next_attempt_at": now + wait} for event in events]
        connection.execute(sa.insert(n), rows)


def add_details(connection: Connection, rollback_id: int, details: dict[str, Any]) -> None:
    """Add details to the events of a rollback that no channel was sent yet; they are due now."""
    unsent = sa.and_(n.c.delivered_at.is_(None), n.c.attempts == 0)
    for number, event in connection.execute(sa.select(n.c.notification_id, n.c.event).where(unsent)).all():
        if isinstance(event, dict) and event.get("details", {}).get("rollback_id") == rollback_id:
            changed = {**event, "details": {**event["details"], **details}}
            this = sa.update(n).where(n.c.notification_id == number, unsent)  # it may have been taken since
            connection.execute(this.values(event=changed, next_attempt_at=n.c.created_at))


class Outbox:
    """The table `notifications`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, event: dict[str, Any], now: datetime) -> None:
        """Write down an event that belongs to no other change."""
        with self._database.write() as connection:
            add(connection, event, now)

    def take_due(self, now: datetime) -> list[PendingNotification]:
        """Events to deliver now, oldest first; other processes leave them alone while the lease lasts."""
        with self._database.read() as connection:
            # What is put off for longer than any pause was put off by a clock that is ahead.
            now_or_never = sa.or_(n.c.next_attempt_at <= now, n.c.next_attempt_at > now + LONGEST_PAUSE + LEASE)
            due = sa.and_(n.c.delivered_at.is_(None), now_or_never)
            if not connection.scalar(sa.select(sa.exists().where(due))):
                return []
        with self._database.write() as connection:
            rows = connection.execute(
                sa.update(n)
                .where(due)
                .values(next_attempt_at=now + LEASE, attempts=n.c.attempts + 1)
                .returning(n.c.notification_id, n.c.event, n.c.delivered_to, n.c.attempts)
            ).all()
        taken = [PendingNotification(row[0], row[1], _channels(row[2]), row[3]) for row in rows]
        return sorted(taken, key=lambda pending: pending.notification_id)

    def delivered(self, notification_id: int, channels: Sequence[str], now: datetime) -> None:
        """Every channel has acknowledged the event."""
        self._set(notification_id, delivered_to=list(channels), delivered_at=now, last_error=None)

    def retry(self, notification_id: int, channels: Sequence[str], error: str, at: datetime) -> None:
        """Some channels have acknowledged the event, others failed; those are tried again at `at`."""
        self._set(notification_id, delivered_to=list(channels), last_error=error, next_attempt_at=at)

    def hold(self, notification_id: int, channels: Sequence[str], at: datetime) -> None:
        """Some channels have acknowledged the event, another one sends it with others at `at`."""
        self._set(notification_id, delivered_to=list(channels), next_attempt_at=at)

    def undelivered(self) -> int:
        """How many events are not delivered everywhere yet."""
        with self._database.read() as connection:
            return connection.execute(
                sa.select(sa.func.count()).select_from(n).where(n.c.delivered_at.is_(None))
            ).scalar_one()

    def failing(self) -> tuple[int, str | None]:
        """How many events a channel has refused and not taken yet, and what went wrong with the oldest of them."""
        refused = sa.and_(n.c.delivered_at.is_(None), n.c.last_error.is_not(None))
        with self._database.read() as connection:
            count = connection.scalar(sa.select(sa.func.count()).select_from(n).where(refused)) or 0
            oldest = sa.select(n.c.last_error).where(refused).order_by(n.c.notification_id).limit(1)
            return count, connection.scalar(oldest)

    def _set(self, notification_id: int, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(sa.update(n).where(n.c.notification_id == notification_id).values(**values))


def _channels(delivered_to: Any) -> tuple[str, ...]:
    """The channels that have acknowledged an event; another program may have written anything."""
    return tuple(map(str, delivered_to)) if isinstance(delivered_to, list) else ()
