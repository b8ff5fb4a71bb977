"""The rollback's journal: claimed → finished, or failed, or overtaken by a person. See docs/rollback.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import RollbackRefused
from rollguard.store import outbox, sessions, versions
from rollguard.store.engine import Database
from rollguard.store.records import Rollback, Version
from rollguard.store.schema import deployment_rollbacks as r

_OPEN = ("claimed", "restored")


@dataclass(frozen=True, slots=True)
class Intention:
    """What a rollback is about to do and why, as its claim writes it down.

    Attributes:
        session_id: the session that decided it, or None for one that a person asks for outside any session.
        from_version: the version that must still be live.
        to_version: the version to restore; None takes the last good one.
    """

    tool_name: str
    session_id: int | None
    from_version: int | None
    to_version: int | None
    reason: str
    rollback_type: str
    requested_by: str
    success_rate_drop: float | None = None
    regression_severity: str | None = None
    investigation: dict[str, Any] | None = None


class Rollbacks:
    """The table `deployment_rollbacks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---------------------------------------------------------------------------------------------------

    def of_session(self, session_id: int) -> Rollback | None:
        """The session's rollback, if there is one."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(r).where(r.c.session_id == session_id)).one_or_none()
            return None if row is None else _rollback(row)

    def recent(self, *, tool_name: str | None = None, limit: int | None = None) -> list[Rollback]:
        """Rollbacks, newest first."""
        query = sa.select(r).order_by(r.c.rollback_time.desc(), r.c.rollback_id.desc()).limit(limit)
        if tool_name is not None:
            query = query.where(r.c.tool_name == tool_name)
        with self._database.read() as connection:
            return [_rollback(row) for row in connection.execute(query)]

    def open(self) -> list[Rollback]:
        """Rollbacks that were claimed and not carried out yet: by someone at this moment, or by nobody any more."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(r).where(r.c.state.in_(_OPEN)).order_by(r.c.rollback_id))
            return [_rollback(row) for row in rows]

    # --- changing --------------------------------------------------------------------------------------------------

    def claim(
        self, intention: Intention, *, event_if_failed: Callable[[Rollback], dict[str, Any]], now: datetime
    ) -> Rollback:
        """Write the intention down, if its session is still active, its version still live and nobody else did.

        With nothing to go back to, what is written is a failed rollback that says so. A rollback that failed before is
        claimed again.

        Args:
            event_if_failed: what people are to be told, once, when there is nothing to go back to.

        Raises:
            RollbackRefused: somebody decided first, or the version is no longer live.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, intention.tool_name)
            from_version = _refuse_stale(connection, intention)
            to_version = intention.to_version
            if to_version is None and from_version is not None:
                to_version = versions.previous_good(connection, intention.tool_name, from_version)
            elif to_version is not None:
                versions.get(connection, intention.tool_name, to_version)
            state = "failed" if to_version is None else "claimed"
            values = {
                "tool_name": intention.tool_name,
                "session_id": intention.session_id,
                "reason": intention.reason,
                "success_rate_drop": intention.success_rate_drop,
                "regression_severity": intention.regression_severity,
                "rollback_type": intention.rollback_type,
                "requested_by": intention.requested_by,
                "investigation": intention.investigation,
                "rollback_time": now,
                "claimed_at": now,
                "from_version": from_version,
                "to_version": to_version,
                "rollback_successful": False,
                "state": state,
                "error": None if to_version is not None else _why_nothing(intention.tool_name, from_version),
            }
            claimed, told_before = _write_claim(connection, intention, values)
            if claimed.state == "failed" and not told_before:
                outbox.add(connection, event_if_failed(claimed), now)
            return claimed

    def finish(
        self,
        rollback_id: int,
        *,
        restore: Callable[[Version], None],
        event: Callable[[Rollback], dict[str, Any]],
        now: datetime,
    ) -> Rollback:
        """Carry a claimed rollback out: restore the file, move the live pointer, close the session, say so.

        All in one transaction that holds the tool's lock. Run again after a crash it does the same thing; run twice at
        once it happens once.

        Args:
            restore: puts the version's code where it is run; the transaction fails with it.
            event: what people are to be told of the finished rollback.

        Raises:
            RollbackRefused: it is no longer claimed: another process finished it, or a person overtook it.
        """
        with self._database.write() as connection:
            claimed = _get(connection, rollback_id)
            self._database.lock_tool(connection, claimed.tool_name)
            claimed = _get(connection, rollback_id)
            if claimed.state not in _OPEN or claimed.to_version is None:
                raise RollbackRefused(f"rollback {rollback_id} of {claimed.tool_name} is already {claimed.state}")
            live = versions.live(connection, claimed.tool_name)
            if (live.version_number if live else None) != claimed.from_version:
                raise RollbackRefused(f"{claimed.tool_name}: version {claimed.from_version} is no longer live")
            versions.move_pointer(
                connection,
                claimed.tool_name,
                claimed.to_version,
                at=now,
                by=claimed.requested_by or "rollguard",
                reason=claimed.reason,
                ended_by="rollback",
            )
            if claimed.session_id is not None and not sessions.close(
                connection, claimed.session_id, now, status="rolled_back", notes=claimed.reason
            ):
                raise RollbackRefused(f"session {claimed.session_id} of {claimed.tool_name} is no longer active")
            finished = _set(
                connection,
                rollback_id,
                state="finished",
                rollback_successful=True,
                rollback_time=now,
                restored_at=now,
                finished_at=now,
                error=None,
            )
            outbox.add(connection, event(finished), now)
            restore(versions.get(connection, claimed.tool_name, claimed.to_version))
            return finished

    def fail(self, rollback_id: int, error: str, *, event: dict[str, Any] | None, now: datetime) -> Rollback:
        """claimed → failed: the version could not be restored. The session stays active, and a later check retries.

        Raises:
            RollbackRefused: it is no longer claimed.
        """
        with self._database.write() as connection:
            claimed = _get(connection, rollback_id)
            self._database.lock_tool(connection, claimed.tool_name)
            claimed = _get(connection, rollback_id)
            if claimed.state not in _OPEN:
                raise RollbackRefused(f"rollback {rollback_id} of {claimed.tool_name} is already {claimed.state}")
            if event is not None:
                outbox.add(connection, event, now)
            return _set(connection, rollback_id, state="failed", finished_at=now, error=error)


def _refuse_stale(connection: Connection, intention: Intention) -> int | None:
    """The version that is live and is meant; refused when the world has moved on since the decision."""
    live = versions.live(connection, intention.tool_name)
    live_version = live.version_number if live else None
    if intention.session_id is not None:
        session = sessions.get(connection, intention.session_id)
        if not session.active:
            raise RollbackRefused(f"session {session.session_id} of {session.tool_name} is {session.status}")
    if intention.from_version is not None and intention.from_version != live_version:
        raise RollbackRefused(
            f"{intention.tool_name}: version {intention.from_version} is no longer live, {live_version} is"
        )
    if intention.to_version is not None and intention.to_version == live_version:
        raise RollbackRefused(f"{intention.tool_name}: version {live_version} is already live")
    return live_version


def _write_claim(connection: Connection, intention: Intention, values: dict[str, Any]) -> tuple[Rollback, bool]:
    """The written claim, and whether an earlier attempt had nothing to go back to either."""
    under_way = connection.execute(
        sa.select(r).where(r.c.tool_name == intention.tool_name, r.c.state.in_(_OPEN))
    ).one_or_none()
    if under_way is not None:
        raise RollbackRefused(f"{intention.tool_name}: rollback {under_way.rollback_id} is already under way")
    earlier = None
    if intention.session_id is not None:
        earlier = connection.execute(sa.select(r).where(r.c.session_id == intention.session_id)).one_or_none()
    if earlier is None:
        return _rollback(connection.execute(sa.insert(r).values(**values).returning(r)).one()), False
    if earlier.state != "failed":
        raise RollbackRefused(f"{intention.tool_name}: rollback {earlier.rollback_id} is already {earlier.state}")
    nothing_new = earlier.to_version is None and values["to_version"] is None
    attempts = earlier.attempts if nothing_new else earlier.attempts + 1
    return _set(connection, earlier.rollback_id, **{**values, "attempts": attempts}), nothing_new


def _why_nothing(tool_name: str, from_version: int | None) -> str:
    if from_version is None:
        return f"{tool_name} has no version in the registry, so there is nothing to go back to"
    return (
        f"{tool_name} has no earlier good version than {from_version} to go back to; "
        "deploy a mended one, or name a version with: rollguard rollback --to N"
    )


def _get(connection: Connection, rollback_id: int) -> Rollback:
    return _rollback(connection.execute(sa.select(r).where(r.c.rollback_id == rollback_id)).one())


def _set(connection: Connection, rollback_id: int, **values: Any) -> Rollback:
    return _rollback(
        connection.execute(sa.update(r).where(r.c.rollback_id == rollback_id).values(**values).returning(r)).one()
    )


def _rollback(row: Row[Any]) -> Rollback:
    return Rollback(**{name: getattr(row, name) for name in Rollback.__dataclass_fields__})
