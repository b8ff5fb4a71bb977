"""The tables `calls_in_flight` and `failure_definitions`: what runs, and since when hangs are recorded."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import Hangs, Window
from rollguard.model.in_flight import CallInFlight
from rollguard.model.session import Session
from rollguard.model.split import Drawn
from rollguard.store.database.engine import Database
from rollguard.store.database.statements import insert_into
from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import calls_in_flight as f
from rollguard.store.schema import failure_definitions as d
from rollguard.store.schema import tool_executions, tool_version_starts, utc_now

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_LOST_AFTER = timedelta(minutes=3)  # a process gives a sign of life every minute
_KEPT = timedelta(days=1)
_NOW = sa.type_coerce(utc_now(), UTCDateTime)
_READ = sa.select(f, _NOW.label("as_of")).order_by(f.c.began_at, f.c.process_id, f.c.number)
_NAMES: sa.BindParameter[Any] = sa.bindparam("names", expanding=True)
_SINCE = sa.select(d.c.tool_name, d.c.in_force_since).where(d.c.tool_name.in_(_NAMES))
_LIMITS = sa.select(d.c.tool_name, d.c.timeout_seconds).where(d.c.tool_name.in_(_NAMES))
_NAME: sa.BindParameter[Any] = sa.bindparam("name")
_AT, _HOUR = sa.bindparam("at", type_=UTCDateTime), sa.bindparam("hour", type_=UTCDateTime)
_RAN = sa.select(
    sa.or_(
        sa.exists().where(tool_executions.c.tool_name == _NAME, tool_executions.c.executed_at < _AT),
        sa.exists().where(tool_version_starts.c.tool_name == _NAME, tool_version_starts.c.first_hour < _HOUR),
    )
)


class Flights:
    """The calls of all processes that run for some seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, process_id: str, calls: Sequence[CallInFlight]) -> None:
        """Replace the calls of a process by these. Calls of processes that are gone for a day are removed.

        A call that names no process is one of this process.
        """
        here, pid = socket.gethostname(), os.getpid()
        rows: list[dict[str, Any]] = [
            {
                **{"process_id": process_id, "number": number, "host": call.host or here, "pid": call.pid or pid},
                **{"tool_name": call.tool_name, "version_number": call.version_number, "began_at": call.began_at},
                **{"request_id": call.request_id, **_drawn(call.drawn)},
            }
            for number, call in enumerate(calls)
        ]
        with self._database.write(durable=False) as connection:
            forgotten = f.c.seen_at < datetime.now(UTC) - _KEPT
            connection.execute(sa.delete(f).where(sa.or_(f.c.process_id == process_id, forgotten)))
            if rows:
                connection.execute(sa.insert(f), rows)

    def all(self) -> list[CallInFlight]:
        """Return the long calls that have not ended, the oldest first, each with its process."""
        with self._database.read() as connection:
            return [
                CallInFlight(
                    *(row.tool_name, row.version_number, row.began_at, row.host, row.pid),
                    lost=row.as_of - row.seen_at > _LOST_AFTER,
                )
                for row in connection.execute(_READ)
                if row.as_of - row.seen_at <= _KEPT
            ]


class FailureDefinitions:
    """Since when the hangs of each tool are recorded, with one limit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, limits: Mapping[str, tuple[float | None, datetime]]) -> None:
        """Note tools' limits, each with the first execution by it. A limit that is in force stays as it is.

        A tool that was never executed before is counted so from its beginning.
        """
        names = {"names": list(limits)}
        with self._database.read() as connection:
            known = {row.tool_name: row.timeout_seconds for row in connection.execute(_LIMITS, names)}
            new = [name for name in limits if name not in known or known[name] != limits[name][0]]
            if not new:
                return
            since = {name: ALWAYS if _first(connection, name, limits[name][1]) else limits[name][1] for name in new}
        statement = insert_into(d, self._database.dialect)
        changed = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["tool_name"],
            set_={"timeout_seconds": changed.timeout_seconds, "in_force_since": changed.in_force_since},
            where=d.c.timeout_seconds.is_distinct_from(changed.timeout_seconds),
        )
        rows = [
            {
                "tool_name": name,
                "timeout_seconds": limits[name][0],
                "in_force_since": since[name],
            }
            for name in sorted(new)
        ]
        with self._database.write(durable=False) as connection:
            connection.execute(statement, rows)

    def since(self, tool_names: Iterable[str]) -> dict[str, datetime]:
        """Return since when the hangs of these tools are recorded; a tool that is missing never was."""
        with self._database.read() as connection:
            rows = connection.execute(_SINCE, {"names": sorted(set(tool_names))})
            return {row.tool_name: row.in_force_since for row in rows}

    def hangs_in(self, sessions: Sequence[Session], windows: Sequence[tuple[Window, Window]]) -> list[Hangs | None]:
        """Return the calls that hung in the windows of each session, and whether they count; None without any.

        They count if they were recorded from the beginning of the baseline on, by one limit.
        """
        found = [Hangs.in_windows(*pair, counted=False) for pair in windows]
        names = {session.tool_name for session, hangs in zip(sessions, found, strict=True) if hangs is not None}
        since = self.since(names) if names else {}
        return [
            hangs and replace(hangs, counted=since.get(session.tool_name, session.deployment_time) <= _begins(session))
            for session, hangs in zip(sessions, found, strict=True)
        ]


def _drawn(drawn: Drawn | None) -> dict[str, Any]:
    if drawn is None:
        return {"rollout_id": None, "stage": None, "arm": None}
    return {"rollout_id": drawn.rollout_id, "stage": drawn.stage, "arm": str(drawn.arm)}


def _begins(session: Session) -> datetime:
    """Return when a session's baseline begins, also if it reaches back to an earlier good version."""
    reached = None if session.left_out is None else session.left_out.start
    return session.baseline_start if reached is None else min(reached, session.baseline_start)


def _first(connection: Connection, tool_name: str, at: datetime) -> bool:
    """Return whether a tool was never executed before a moment."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    return not connection.scalar(_RAN, {"name": tool_name, "at": at, "hour": hour})
