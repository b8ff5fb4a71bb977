"""Monitoring sessions and their health checks. Every change of state checks the state before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import SessionClosed, UnknownSession
from rollguard.judge import Rules, Window
from rollguard.model.check import NewCheck, reported_by
from rollguard.model.event import EventKind
from rollguard.model.names import checked_tool_name
from rollguard.model.ramp import State
from rollguard.model.session import Session
from rollguard.store import outbox, rollback_states, rollout_states
from rollguard.store.database.driver import insert_many
from rollguard.store.database.engine import Database
from rollguard.store.monitoring.rows import as_json, readable, session_of
from rollguard.store.monitoring.starting import start
from rollguard.store.schema import deployment_health_checks as c
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import tool_deployments as d

_GET = sa.select(m).where(m.c.session_id == sa.bindparam("id"))
_KEEP_BASELINE = (
    sa.update(m)
    .where(m.c.session_id == sa.bindparam("id"), m.c.baseline.is_(None))
    .values(baseline=sa.bindparam("window"))
)
_KEEP_CREEPING = sa.update(m).where(m.c.session_id == sa.bindparam("id")).values(creeping=sa.bindparam("sentence"))
_KEEP_LEFT_OUT = (
    sa.update(m)
    .where(m.c.session_id == sa.bindparam("id"), m.c.baseline.is_(None))
    .values(left_out=sa.bindparam("out"), earlier_versions=sa.bindparam("earlier"))
)
_GIVEN = m.c.session_id.in_(sa.bindparam("ids", expanding=True))
_LOCK_SESSIONS = (
    sa.select(m.c.session_id, m.c.creeping).where(_GIVEN).order_by(m.c.session_id).with_for_update(key_share=True)
)
_x = c.alias()
_LATEST_CHECK = (
    sa.select(_x.c.check_id)
    .where(_x.c.session_id == m.c.session_id)
    .order_by(_x.c.checked_at.desc(), _x.c.check_id.desc())
    .limit(1)
    .scalar_subquery()
)
_LATEST_CHECKS = (
    sa.select(c.c.session_id, c.c.performance_degradation, c.c.verdict, c.c.regression_detected, c.c.silent_since)
    .join_from(m, c, c.c.check_id == _LATEST_CHECK)
    .where(_GIVEN)
)


class Sessions:
    """The tables `deployment_monitoring` and `deployment_health_checks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, session_id: int) -> Session:
        """Return one session.

        Raises:
            UnknownSession: there is none with that id.
        """
        with self._database.read() as connection:
            return get(connection, session_id)

    def active(self, tool_name: str | None = None) -> list[Session]:
        """Return the active sessions, oldest first."""
        return self.recent(tool_name=tool_name, status="active")[::-1]

    def recent(
        self,
        *,
        tool_name: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[Session]:
        """Return sessions, newest first; with `before` those older than that one."""
        query = sa.select(m).order_by(m.c.session_id.desc()).limit(limit)
        if before is not None:
            query = query.where(m.c.session_id < before)
        if tool_name is not None:
            query = query.where(m.c.tool_name == tool_name)
        if status is not None:
            query = query.where(m.c.status == status)
        with self._database.read() as connection:
            return readable(connection.execute(query).fetchall())

    def creeping(self) -> dict[int, str]:
        """Return, by active session, than which earlier version it was found worse, a little with each version."""
        found = sa.select(m.c.session_id, m.c.creeping).where(m.c.status == "active", m.c.creeping.is_not(None))
        with self._database.read() as connection:
            return {row.session_id: row.creeping for row in connection.execute(found)}

    def deployed_between(self, start: datetime, end: datetime) -> dict[str, list[datetime]]:
        """Return when each tool was deployed in [start, end], monitored or not; only tools that were deployed."""
        watched = sa.select(m.c.tool_name, m.c.deployment_time).where(m.c.deployment_time.between(start, end))
        made = sa.select(d.c.tool_name, d.c.deployed_at).where(
            d.c.deployed_at.between(start, end), d.c.kind == "deployment"
        )
        times: dict[str, list[datetime]] = {}
        with self._database.read() as connection:
            for name, deployed in connection.execute(sa.union(watched, made).order_by(sa.text("1, 2"))):
                times.setdefault(name, []).append(deployed)
        return times

    def take(self, watcher: str, *, after: int, limit: int, now: datetime, until: datetime) -> list[Session]:
        """Take active sessions that no live watcher holds, by their ids, greater than `after`.

        A watcher keeps its sessions by taking them again in time; otherwise others may take them from `until` on. A
        lease that ends later than this one is of a clock that is ahead, or was, and holds nobody. This only saves work:
        if two watchers check a session, it is still rolled back only once.
        """
        free = sa.or_(
            m.c.watched_by.is_(None),
            m.c.watched_by == watcher,
            m.c.watched_until.is_(None),
            m.c.watched_until <= now,
            m.c.watched_until > until,
        )
        wanted = sa.and_(m.c.status == "active", m.c.session_id > after, free)
        some = sa.select(m.c.session_id).where(wanted).order_by(m.c.session_id).limit(limit)
        with self._database.write(durable=False) as connection:
            ids = some.with_for_update(skip_locked=True) if self._database.dialect == "postgresql" else some
            rows = connection.execute(
                sa.update(m).where(m.c.session_id.in_(ids)).values(watched_by=watcher, watched_until=until).returning(m)
            ).all()
        return sorted(readable(rows), key=lambda session: session.session_id)

    def let_go(self, watcher: str) -> None:
        """Release the sessions of a watcher, so that others can take them at once."""
        with self._database.write(durable=False) as connection:
            mine = sa.and_(m.c.watched_by == watcher, m.c.status == "active")
            connection.execute(sa.update(m).where(mine).values(watched_by=None, watched_until=None))

    # --- changing --------------------------------------------------------------------------------------------------

    def start(
        self,
        tool_name: str,
        deployment_time: datetime,
        rules: Rules,
        *,
        version_number: int | None,
        notes: str | None,
        now: datetime,
    ) -> Session:
        """Start monitoring a deployment. An active session of the same tool becomes `superseded`.

        Args:
            version_number: the version to monitor; by default the live one, if there is one.

        Raises:
            UnknownVersion: there is no version of that number.
        """
        checked_tool_name(tool_name)
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            return start(
                connection, tool_name, deployment_time, rules, version_number=version_number, notes=notes, now=now
            )

    def complete(self, session_id: int, *, outcome: str, notes: str, now: datetime) -> bool:
        """Change active → completed. Return False if it is no longer active, or its rollback is under way."""
        under_way = sa.exists().where(r.c.session_id == session_id, r.c.state.in_(rollback_states.OPEN))
        return self._close(session_id, now, ~under_way, status="completed", outcome=outcome, notes=notes)

    def cancel(self, session_id: int, *, notes: str, now: datetime) -> Session:
        """Change active → cancelled, for an operator. A rollback that is not carried out yet is called off.

        Raises:
            UnknownSession: there is none with that id.
            SessionClosed: it is no longer active.
        """
        with self._database.write() as connection:
            session = get(connection, session_id)
            self._database.lock_tool(connection, session.tool_name)
            if not close(connection, session_id, now, status="cancelled", notes=notes):
                session = get(connection, session_id)
                raise SessionClosed(f"session {session_id} of {session.tool_name} is already {session.status}")
            rollback_states.call_off(connection, [session_id], at=now, error="the session was cancelled first")
            why = f"its session was cancelled: {notes}"
            rollout_states.end_of_sessions(connection, [session_id], State.ABORTED, at=now, by="human", why=why)
            return get(connection, session_id)

    def record_check(self, session_id: int, check: dict[str, Any]) -> None:
        """Record a health check without events: columns of `deployment_health_checks`, without the ids."""
        with self._database.write(durable=False, remade=True) as connection:
            connection.execute(sa.insert(c), {"session_id": session_id, **check})

    def record_checks(
        self,
        checks: Sequence[NewCheck],
        *,
        baselines: Mapping[int, Window],
        now: datetime,
        left_out: Sequence[Session] = (),
    ) -> None:
        """Record many health checks and their new notifications, in one transaction.

        Args:
            checks: at most one for each session.
            baselines: final counts of sessions' baselines; stored baselines stay unchanged.
            now: when the notifications are due.
            left_out: sessions for which it was found what their baseline does not count.
        """
        if not baselines and not left_out and not any(check.required or check.events for check in checks):
            return
        with self._database.write(durable=False, remade=True) as connection:
            reported = _lock_reported(connection, [check.session_id for check in checks if check.events])
            rows, events, creeping = [], [], []
            for check in checks:
                begun = check.events.keys() - reported.get(check.session_id, frozenset())
                events += [check.events[kind].to_dict() for kind in sorted(begun)]
                if EventKind.CREEPING in begun:
                    sentence = check.events[EventKind.CREEPING].reasons[0]
                    creeping.append({"id": check.session_id, "sentence": sentence})
                if check.required or begun:
                    rows.append({"session_id": check.session_id, **check.columns})
            if rows:
                insert_many(connection, c, rows)
            outbox.add_all(connection, events, now)
            if creeping:
                connection.execute(_KEEP_CREEPING, creeping)
            if left_out:
                connection.execute(_KEEP_LEFT_OUT, list(map(_found, left_out)))
            if baselines:
                kept = [
                    {"id": session_id, "window": as_json(window.to_dict())} for session_id, window in baselines.items()
                ]
                connection.execute(_KEEP_BASELINE, kept)

    def note_baseline(self, session: Session, notes: Sequence[str]) -> None:
        """Store what a new session's baseline does not count, and sentences on what it mixes, if there are any."""
        mixed = {"baseline_notes": as_json(list(notes))} if notes else {}
        with self._database.write(durable=False) as connection:
            connection.execute(_KEEP_LEFT_OUT.values(mixed), _found(session))

    def checks(
        self, session_id: int, limit: int | None = None, *, before: int | None = None, records: bool = True
    ) -> list[dict[str, Any]]:
        """Return the session's health checks, newest first.

        Args:
            before: only those older than that one.
            records: False leaves their decision records out, which are most of their size.
        """
        columns = [column for column in c.c if records or column.name != "record"]
        query = sa.select(*columns).where(c.c.session_id == session_id).order_by(c.c.check_id.desc()).limit(limit)
        if before is not None:
            query = query.where(c.c.check_id < before)
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [dict(row._mapping) for row in rows if row.checked_at is not None]

    def check(self, check_id: int) -> dict[str, Any] | None:
        """Return one health check, None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(c).where(c.c.check_id == check_id)).one_or_none()
            return None if row is None else dict(row._mapping)

    def _close(self, session_id: int, now: datetime, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
        with self._database.write() as connection:
            self._database.lock_tool(connection, get(connection, session_id).tool_name)
            return close(connection, session_id, now, *conditions, **values)


def _found(session: Session) -> dict[str, Any]:
    out, earlier = session.left_out, session.earlier_versions
    return {
        "id": session.session_id,
        "out": out and as_json(out.to_dict()),
        "earlier": earlier and as_json(earlier.to_dict()),
    }


# --- on a connection, for transactions that do more ------------------------------------------------------------------


def _lock_reported(connection: Connection, session_ids: Sequence[int]) -> dict[int, frozenset[EventKind]]:
    """Return what each session's latest check reports, and creeping if any check did.

    New checks of these sessions wait until the transaction ends.
    """
    if not session_ids:
        return {}
    given = {"ids": session_ids}
    once = {row.session_id for row in connection.execute(_LOCK_SESSIONS, given) if row.creeping is not None}
    latest = {row.session_id: reported_by(row._asdict()) for row in connection.execute(_LATEST_CHECKS, given)}
    return latest | {number: latest.get(number, frozenset()) | {EventKind.CREEPING} for number in once}


def is_monitored(connection: Connection, tool_name: str) -> bool:
    """Return whether a deployment of the tool is monitored."""
    active = sa.exists().where(m.c.tool_name == tool_name, m.c.status == "active")
    return bool(connection.scalar(sa.select(active)))


def get(connection: Connection, session_id: int) -> Session:
    """Return one session, or raise `UnknownSession`."""
    row = connection.execute(_GET, {"id": session_id}).one_or_none()
    if row is None:
        raise UnknownSession(f"there is no monitoring session {session_id}; list them with: rollguard sessions")
    return session_of(row)


def get_all(connection: Connection, session_ids: Sequence[int]) -> dict[int, Session]:
    """Return the sessions that exist, by id."""
    rows = connection.execute(sa.select(m).where(m.c.session_id.in_(session_ids)))
    return {session.session_id: session for session in readable(rows.all())}


def close(
    connection: Connection, session_id: int, now: datetime, *conditions: sa.ColumnElement[bool], **values: Any
) -> bool:
    """Change an active session to `values`. Return False if it is no longer active."""
    result = connection.execute(
        sa.update(m)
        .where(m.c.session_id == session_id, m.c.status == "active", *conditions)
        .values(completed_at=now, **values)
    )
    return result.rowcount == 1
