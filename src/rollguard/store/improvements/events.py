"""The table `improvement_events`, to which rows are only added."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.attempt import Attempt, AttemptEvent
from rollguard.store.database.engine import Database
from rollguard.store.schema import improvement_events as e

_EVENT = tuple(e.c[name] for name in AttemptEvent.__dataclass_fields__)


class AttemptEvents:
    """What happened to attempts, and who froze what."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, attempt_id: int) -> list[AttemptEvent]:
        """Return what happened to an attempt, in order."""
        return self._listed(e.c.attempt_id == attempt_id, e.c.event_id)

    def votes(self, attempt_id: int) -> list[tuple[str, str]]:
        """Return who approved an attempt, and the hash that each approval is bound to."""
        with self._database.read() as connection:
            return votes(connection, attempt_id)

    def recent(self, limit: int = 50) -> list[AttemptEvent]:
        """Return the latest events of every attempt and freeze, newest first."""
        return self._listed(sa.true(), e.c.event_id.desc(), limit)

    def _listed(self, which: Any, order: Any, limit: int | None = None) -> list[AttemptEvent]:
        query = sa.select(*_EVENT).where(which).order_by(order).limit(limit)
        with self._database.read() as connection:
            return [AttemptEvent(**{**row, "details": row["details"] or {}}) for row in _rows(connection, query)]


def add(
    connection: Connection,
    attempt: Attempt,
    event: str,
    *,
    to_state: str,
    by: str,
    at: datetime,
    from_state: str | None = None,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write an event in the transaction of the change that it reports."""
    connection.execute(
        sa.insert(e).values(
            attempt_id=attempt.attempt_id,
            tool_name=attempt.tool_name,
            at=at,
            event=event,
            from_state=from_state,
            to_state=to_state,
            try_number=attempt.tries,
            by=by,
            reason=reason,
            details=dict(details or {}),
        )
    )


def votes(connection: Connection, attempt_id: int) -> list[tuple[str, str]]:
    """Return who approved an attempt, and the hash that each approval is bound to."""
    given = sa.select(e.c.by, e.c.details).where(e.c.attempt_id == attempt_id, e.c.event.in_(("vote", "approve")))
    found = connection.execute(given.order_by(e.c.event_id))
    return [(row.by, str((row.details or {}).get("binding"))) for row in found]


def count(connection: Connection, event: str, *, by: str, since: datetime) -> int:
    """Return how many such events there were since then."""
    found = sa.select(sa.func.count()).where(e.c.event == event, e.c.by == by, e.c.at > since)
    return int(connection.scalar(found) or 0)


def _rows(connection: Connection, query: Any) -> Any:
    return connection.execute(query).mappings()
