"""Freezes: the loop changes nothing of a frozen tool. The latest event of a tool says whether it is frozen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.attempt import AttemptEvent
from rollguard.store.database.engine import Database
from rollguard.store.schema import improvement_events as e

FREEZE, UNFREEZE = "freeze", "unfreeze"
_latest = (
    sa.select(sa.func.max(e.c.event_id)).where(e.c.event.in_((FREEZE, UNFREEZE))).group_by(e.c.tool_name)
).scalar_subquery()
_NOW = sa.select(e).where(e.c.event_id.in_(_latest), e.c.event == FREEZE)


class Freezes:
    """What is frozen, and by whom."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str | None, AttemptEvent]:
        """Return the freezes in force by tool; None is every tool."""
        with self._database.read() as connection:
            rows = connection.execute(_NOW).mappings().all()
        return {row["tool_name"]: AttemptEvent(**{**row, "details": row["details"] or {}}) for row in rows}

    def set(self, tool_name: str | None, *, frozen: bool, by: str, reason: str | None, now: datetime) -> bool:
        """Freeze or unfreeze a tool, or with None every tool. Return False if it is so already."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, f"loop: freeze {tool_name or ''}")
            known = {row.tool_name for row in connection.execute(_NOW)}
            if (tool_name in known) == frozen:
                return False
            event = FREEZE if frozen else UNFREEZE
            connection.execute(sa.insert(e).values(tool_name=tool_name, at=now, event=event, by=by, reason=reason))
        return True


def frozen(tool_name: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a tool is frozen, by itself or with all others."""
    latest = e.alias()
    newer = sa.select(sa.func.max(latest.c.event_id)).where(
        latest.c.event.in_((FREEZE, UNFREEZE)), latest.c.tool_name.is_not_distinct_from(e.c.tool_name)
    )
    return sa.exists().where(
        e.c.event == FREEZE,
        sa.or_(e.c.tool_name.is_(None), e.c.tool_name == tool_name),
        e.c.event_id == newer.scalar_subquery(),
    )


def is_frozen(connection: Connection, tool_name: str) -> bool:
    """Return whether the loop may change nothing of a tool."""
    return bool(connection.scalar(sa.select(frozen(sa.literal(tool_name)))))
