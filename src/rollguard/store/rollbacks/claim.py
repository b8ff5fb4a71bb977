"""What a claim decides under the tool's lock: to carry a rollback out, or to hold it, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import NoEarlierVersion, RollbackRefused
from rollguard.judge import RollbackType
from rollguard.model.ramp import Signs
from rollguard.model.rollback import Rollback
from rollguard.store import outbox, rollback_states, rollout_states
from rollguard.store.monitoring import sessions
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.versions import quarantine, versions

_DAY = timedelta(hours=24)
INTENDED = (
    *("tool_name", "session_id", "reason", "success_rate_drop"),
    *("regression_severity", "rollback_type", "requested_by", "release_id", "rollout_id"),
)
"""What a record has as it was intended."""


@dataclass(frozen=True, slots=True)
class Intention:
    """What a rollback is to do and why, as its claim records it.

    Attributes:
        session_id: the session that decided it, or None for one that a person requests without a session.
        from_version: the version that must still be live.
        to_version: the version to restore; None takes the last good one.
        rollback_type: what requested it; `manual` is a person, and then no mode, cap or pause holds it.
        mode: "observe" records the decision and does nothing.
        max_per_day: automatic rollbacks of the tool in 24 hours; 0 is no limit.
        quarantine: whether the replaced code is quarantined; by default unless a person requested the rollback.
        release_id: the release that is rolled back as one.
        rollout_id: the open rollout that it ends; `from_version` is the new version, `to_version` the one beside it.
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
    mode: str = "act"
    max_per_day: int = 0
    quarantine: bool | None = None
    release_id: int | None = None
    rollout_id: int | None = None

    @property
    def manual(self) -> bool:
        """Return whether a person requests it."""
        return self.rollback_type == RollbackType.MANUAL


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of a claim: the state its row begins in and, if it is held, why and until when."""

    state: str
    from_version: int | None
    to_version: int | None
    error: str | None = None
    next_attempt_at: datetime | None = None


def decide(
    connection: Connection, intention: Intention, now: datetime, *, withdraws: bool = False, no_way_back: str = ""
) -> Decision:
    """Decide about an intention; the caller holds the tool's lock.

    Args:
        withdraws: the tool's release added it, so that it is withdrawn.
        no_way_back: why no version can be put in the place of the live one, if so.

    Raises:
        RollbackRefused: another decision came first, or the version is no longer live.
        CodeQuarantined: the version to restore is in quarantine.
        UnknownVersion: there is no such version.
        NoEarlierVersion: a person requests it, and there is no version to go back to.
    """
    from_version = _refuse_stale(connection, intention)
    if not intention.manual and intention.from_version not in (None, from_version):
        return Decision("failed", intention.from_version, None, _why_not_ours(intention, from_version))
    to_version = None if withdraws else _target(connection, intention, from_version)
    name = intention.tool_name
    if no_way_back:
        if intention.manual:
            raise NoEarlierVersion(f"{name} cannot be rolled back: {no_way_back}")
        return Decision("failed", from_version, None, f"{name} was not rolled back: {no_way_back}")
    if intention.mode == "observe":
        would = "there is no version to go back to" if to_version is None else f"version {to_version} would be restored"
        would = "it would be withdrawn" if withdraws else would
        error = f'nothing was changed, because mode is "observe"; {would} by: rollguard rollback {name}'
        return Decision("observed", from_version, to_version, error)
    if to_version is None and not withdraws:
        if intention.manual:  # the error answers the person; nothing else has to be recorded
            raise NoEarlierVersion(_why_nothing(name, from_version))
        return Decision("failed", from_version, None, _why_nothing(name, from_version))
    until = _capped_until(connection, intention, now)
    if until is not None:
        error = (
            f"{name} was rolled back {intention.max_per_day} times within 24 hours, which is max_rollbacks_per_day, so "
            f"something else is wrong; nothing is done before {until:%Y-%m-%d %H:%M} UTC, but by: rollguard rollback"
        )
        return Decision("capped", from_version, to_version, error, until)
    return Decision("claimed", from_version, to_version)


def refuse_under_way(connection: Connection, tool_name: str) -> None:
    """Raise `RollbackRefused` if another rollback of the tool is decided and not over."""
    row = connection.execute(
        sa.select(r).where(r.c.tool_name == tool_name, r.c.state.in_(rollback_states.OPEN))
    ).one_or_none()
    if row is not None:
        raise RollbackRefused(f"{tool_name}: rollback {row.rollback_id} is already under way")


def earlier_of_session(connection: Connection, intention: Intention) -> Row[Any] | None:
    """Return the held rollback of the same session, to claim it again.

    Raises:
        RollbackRefused: the session's rollback is over.
    """
    if intention.session_id is None:
        return None
    row = connection.execute(sa.select(r).where(r.c.session_id == intention.session_id)).one_or_none()
    if row is not None and row.state not in rollback_states.HELD:
        raise RollbackRefused(f"{intention.tool_name}: rollback {row.rollback_id} is already {row.state}")
    return row


def row_of(intention: Intention, decision: Decision, actuator: str, now: datetime) -> dict[str, Any]:
    """Return a claim as the columns of its row."""
    quarantines = not intention.manual if intention.quarantine is None else intention.quarantine
    return {
        **{name: getattr(intention, name) for name in INTENDED},
        "investigation": None,  # comes after the rollback, which waits for nothing
        "rollback_time": now,
        "claimed_at": now,
        "finished_at": None,
        "from_version": decision.from_version,
        "to_version": decision.to_version,
        "rollback_successful": False,
        "state": decision.state,
        "error": decision.error,
        "next_attempt_at": decision.next_attempt_at,
        "actuator": actuator,
        "output": None,
        "quarantines": quarantines,
    }


def record_investigation(connection: Connection, rollback_id: int, investigation: dict[str, Any]) -> None:
    """Record an investigation once. The event of the rollback gets it too, unless it was sent already."""
    nothing_yet = sa.and_(r.c.rollback_id == rollback_id, r.c.investigation.is_(None))
    if connection.execute(sa.update(r).where(nothing_yet).values(investigation=investigation)).rowcount:
        outbox.add_details(connection, rollback_id, {"investigation": investigation})


def _refuse_stale(connection: Connection, intention: Intention) -> int | None:
    """Return the live version; raise `RollbackRefused` if the decision is out of date.

    Making another version live ends the session first. So an active session whose version is not live began for a
    version that was never recorded as live.
    """
    live = versions.live(connection, intention.tool_name)
    live_version = live.version_number if live else None
    if intention.session_id is not None:
        session = sessions.get(connection, intention.session_id)
        if not session.active:
            raise RollbackRefused(f"session {session.session_id} of {session.tool_name} is {session.status}")
    if intention.rollout_id is not None:
        return _new_version(connection, intention.rollout_id)
    watched = intention.session_id is not None and not intention.manual
    if not watched and intention.from_version is not None and intention.from_version != live_version:
        raise RollbackRefused(
            f"{intention.tool_name}: version {intention.from_version} is no longer live, {live_version} is"
        )
    if intention.to_version is not None and intention.to_version == live_version:
        raise RollbackRefused(f"{intention.tool_name}: version {live_version} is already live")
    return live_version


def _new_version(connection: Connection, rollout_id: int) -> int:
    """Return the new version of an open rollout; raise `RollbackRefused` if it ended."""
    rollout = rollout_states.get(connection, rollout_id)
    if rollout is None or not rollout.open:
        raise RollbackRefused(f"rollout {rollout_id} is {'unknown' if rollout is None else rollout.ramp.state}")
    return rollout.new_version


def end_rollout(connection: Connection, rollback: Rollback, now: datetime) -> None:
    """End the rollout that a claimed rollback rolls back: from now on the old version serves alone."""
    rollout = None if rollback.rollout_id is None else rollout_states.get(connection, rollback.rollout_id)
    if rollout is not None:
        ramp, by = rollout.ramp.after(Signs(0, evidence=True), now), rollback.requested_by or "rollguard"
        if rollout_states.move(connection, rollout, ramp, by=by, at=now, why=rollback.reason) is None:
            raise RollbackRefused(f"rollout {rollout.rollout_id} was changed at this moment")


def _target(connection: Connection, intention: Intention, from_version: int | None) -> int | None:
    if intention.to_version is None:
        return None if from_version is None else versions.previous_good(connection, intention.tool_name, from_version)
    quarantine.refuse(connection, versions.get(connection, intention.tool_name, intention.to_version))
    return intention.to_version


def _capped_until(connection: Connection, intention: Intention, now: datetime) -> datetime | None:
    """Return when the next automatic rollback is allowed; None if one is allowed now."""
    if intention.manual or not intention.max_per_day:
        return None
    latest = connection.scalars(
        sa.select(r.c.rollback_time)
        .where(
            r.c.tool_name == intention.tool_name,
            r.c.rollback_successful,
            r.c.rollback_type != RollbackType.MANUAL,
            r.c.session_id.is_not(None),  # not for another tool's sake
            r.c.rollback_time > now - _DAY,
        )
        .order_by(r.c.rollback_time.desc())
        .limit(intention.max_per_day)
    ).all()
    return latest[-1] + _DAY if len(latest) == intention.max_per_day else None


def _why_not_ours(intention: Intention, live_version: int | None) -> str:
    name, live = intention.tool_name, "none" if live_version is None else f"version {live_version}"
    return (
        f"{name}: version {intention.from_version} is monitored, but {live} is recorded as live, so it is not known "
        f"what a rollback would undo; if version {intention.from_version} is what runs, record it with: "
        "rollguard deploy --already-live"
    )


def _why_nothing(tool_name: str, from_version: int | None) -> str:
    if from_version is None:
        return f"{tool_name} has no version in the registry, so there is nothing to go back to"
    return (
        f"{tool_name} has no earlier good version than {from_version} to go back to; "
        "deploy a fixed one, or name a version with: rollguard rollback --to N"
    )
