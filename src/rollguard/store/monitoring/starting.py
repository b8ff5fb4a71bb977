"""How a session starts: in the transaction of what it belongs to, so no version is live without monitoring."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import Rules
from rollguard.model.ramp import State
from rollguard.model.session import Session
from rollguard.model.version import Deployment
from rollguard.store import rollback_states, rollout_states
from rollguard.store.monitoring.rows import columns_of, session_of
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import release_tools as t
from rollguard.store.versions import versions


class Beginning:
    """A session that starts in the transaction that makes a version live, so no version is live without monitoring.

    Args:
        rules: the rules for the deployment.
        now: when monitoring starts.

    Attributes:
        rules: as given.
        session: the session; None until it has started.
    """

    def __init__(self, rules: Rules, now: datetime) -> None:
        self.rules, self._now = rules, now
        self.session: Session | None = None

    def begin(self, connection: Connection, deployment: Deployment) -> None:
        """Start monitoring a deployment. The caller holds the tool's lock."""
        self._begin(connection, deployment.tool_name, deployment.version_number, deployment.monitored_from)

    def begin_beside(self, connection: Connection, tool_name: str, version_number: int, at: datetime) -> Session:
        """Start monitoring a version beside the live one. The caller holds the tool's lock."""
        return self._begin(connection, tool_name, version_number, at, beside=True)

    def _begin(
        self, connection: Connection, tool_name: str, version_number: int, at: datetime, *, beside: bool = False
    ) -> Session:
        self.session = start(
            connection,
            tool_name,
            at,
            self.rules,
            version_number=version_number,
            notes=None,
            now=self._now,
            beside=beside,
        )
        return self.session


def start(
    connection: Connection,
    tool_name: str,
    deployment_time: datetime,
    rules: Rules,
    *,
    version_number: int | None,
    notes: str | None,
    now: datetime,
    beside: bool = False,
) -> Session:
    """Start a session, like `Sessions.start`. The caller holds the tool's lock.

    Args:
        beside: whether the version begins to serve beside the live one.
    """
    live = versions.live(connection, tool_name)
    if version_number is None:
        version_number = live.version_number if live else None
    else:
        versions.get(connection, tool_name, version_number)
    watched_is_live = live is not None and live.version_number == version_number
    lived = version_number is not None and (watched_is_live or beside)
    live_before = versions.last_life_ended(connection, tool_name, version_number or 0) if lived else None
    release_id = live.release_id if live and watched_is_live else None
    if release_id is not None:
        rules = rules.of_release(changed_tools(connection, release_id))
    superseded = connection.scalars(
        sa.update(m)
        .where(m.c.tool_name == tool_name, m.c.status == "active")
        .values(status="superseded", completed_at=now, notes="a new session of this tool was started")
        .returning(m.c.session_id)
    ).all()
    rollback_states.call_off(connection, superseded, at=now, error="a new session of the tool was started first")
    why = "a new session of the tool was started"
    rollout_states.end_of_sessions(connection, superseded, State.SUPERSEDED, at=now, by="rollguard", why=why)
    row = connection.execute(
        sa.insert(m)
        .values(
            tool_name=tool_name,
            deployment_time=deployment_time,
            monitoring_started_at=now,
            version_number=version_number,
            live_before=live_before,
            release_id=release_id,
            notes=notes,
            **columns_of(rules),
        )
        .returning(m)
    ).one()
    return session_of(row)


def changed_tools(connection: Connection, release_id: int) -> int:
    """Return how many tools a release changed, which share its alpha."""
    changed = sa.select(sa.func.count()).where(t.c.release_id == release_id, t.c.changed)
    return connection.scalar(changed) or 0
