"""The rollback's journal: each step in one transaction that holds the tool's lock. See docs/rollback.md."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import RollbackRefused
from rollguard.model.rollback import Rollback, Unverified
from rollguard.model.version import Version
from rollguard.store import outbox, rollback_states, rollout_states
from rollguard.store.monitoring import sessions
from rollguard.store.rollbacks import actuator_leases
from rollguard.store.rollbacks import claim as claims
from rollguard.store.rollbacks.claiming import Claims, EventOf
from rollguard.store.rollbacks.rows import get, moved, name_of, rollback_of
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import tool_deployments as d
from rollguard.store.versions import quarantine, versions

_FOR_INVESTIGATION = timedelta(seconds=2)  # which takes a tenth of that


class Rollbacks(Claims):
    """The table `deployment_rollbacks`."""

    # --- reading ---------------------------------------------------------------------------------------------------

    def of_session(self, session_id: int) -> Rollback | None:
        """Return the session's rollback, None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(r).where(r.c.session_id == session_id)).one_or_none()
            return None if row is None else rollback_of(row)

    def recent(
        self,
        *,
        tool_name: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        before: Rollback | None = None,
    ) -> list[Rollback]:
        """Return rollbacks, newest first; with `before` those that are listed after that one."""
        query = sa.select(r).order_by(r.c.rollback_time.desc(), r.c.rollback_id.desc()).limit(limit)
        if tool_name is not None:
            query = query.where(r.c.tool_name == tool_name)
        if since is not None:
            query = query.where(r.c.rollback_time >= since)
        if before is not None:
            earlier = sa.and_(r.c.rollback_time == before.rollback_time, r.c.rollback_id < before.rollback_id)
            query = query.where(sa.or_(r.c.rollback_time < before.rollback_time, earlier))
        return self._listed(query)

    def count(self, since: datetime) -> int:
        """Return how many rollbacks there were since a moment."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(r.c.rollback_time >= since)) or 0

    def get(self, rollback_id: int) -> Rollback:
        """Return one rollback."""
        with self._database.read() as connection:
            return get(connection, rollback_id)

    def open(self, release_id: int | None = None) -> list[Rollback]:
        """Return the rollbacks that are claimed and not over; a process carries them out now, or died doing so.

        Args:
            release_id: return only those of this release.
        """
        query = sa.select(r).where(r.c.state.in_(rollback_states.OPEN)).order_by(r.c.rollback_id)
        if release_id is not None:
            query = query.where(r.c.release_id == release_id)
        return self._listed(query)

    def of_release(self, release_id: int) -> list[Rollback]:
        """Return the rollbacks of a release that are decided or done, by the tool's name."""
        states = (*rollback_states.OPEN, "finished")
        query = sa.select(r).where(r.c.release_id == release_id, r.c.state.in_(states)).order_by(r.c.tool_name)
        return self._listed(query)

    def held(self, session_id: int, now: datetime) -> Rollback | None:
        """Return the session's rollback if it is held and not to be decided again yet, else None."""
        rollback = self.of_session(session_id)
        if rollback is None or rollback.state not in rollback_states.HELD:
            return None
        waits = rollback.next_attempt_at is not None and now < rollback.next_attempt_at
        return rollback if waits or rollback.state == "observed" else None

    def unfinished(self) -> list[Rollback]:
        """Return the rollbacks that should have happened and have not: open, or held in an active session."""
        active = sa.exists().where(m.c.session_id == r.c.session_id, m.c.status == "active")
        held = sa.and_(r.c.state.in_(rollback_states.HELD), active)
        which = sa.or_(r.c.state.in_(rollback_states.OPEN), held)
        return self._listed(sa.select(r).where(which).order_by(r.c.rollback_id))

    def uninvestigated(self, since: datetime) -> list[Rollback]:
        """Return what finished since a moment and was not investigated, because its process ended before."""
        which = (r.c.state == "finished", r.c.session_id.is_not(None), r.c.investigation.is_(None))
        return self._listed(sa.select(r).where(*which, r.c.finished_at >= since).order_by(r.c.rollback_id))

    def _listed(self, query: sa.Select[Any]) -> list[Rollback]:
        with self._database.read() as connection:
            return [rollback_of(row) for row in connection.execute(query)]

    def unverified(self) -> list[Unverified]:
        """Return the finished rollbacks of sessions that are not verified yet, oldest first."""
        after = sa.and_(d.c.tool_name == r.c.tool_name, d.c.version_number == r.c.to_version)
        query = (
            sa.select(r, d.c.ended_at)
            .outerjoin(d, sa.and_(after, d.c.deployed_at == r.c.rollback_time))
            .where(r.c.state == "finished", r.c.verification_note.is_(None))
            .where(r.c.session_id.is_not(None), r.c.to_version.is_not(None))
            .order_by(r.c.rollback_id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            watched = sessions.get_all(connection, [row.session_id for row in rows])
            return [Unverified(rollback_of(row), watched[row.session_id], row.ended_at) for row in rows]

    # --- changing --------------------------------------------------------------------------------------------------

    def investigated(self, rollback_id: int, investigation: dict[str, Any]) -> Rollback:
        """Record what came with the deployment, if nothing is recorded yet."""
        with self._database.write() as connection:
            claims.record_investigation(connection, rollback_id, investigation)
            return get(connection, rollback_id)

    def overtake_if_stale(self, rollback_id: int, now: datetime, why: str | None = None) -> Rollback | None:
        """claimed or restored → overtaken: call it off if its session is over or its version no longer live.

        Args:
            why: another reason to call it off.

        Returns:
            The overtaken rollback; None if it is not stale, or no longer open.
        """
        with self._database.write() as connection:
            going = self._locked(connection, rollback_id)
            stale = why or _why_stale(connection, going)
            if stale is None or going.state not in rollback_states.OPEN:
                return None
            rollback_states.overtake(connection, r.c.rollback_id == rollback_id, at=now, error=stale)
            return get(connection, rollback_id)

    def attempt(self, rollback_id: int, *, holder: str, until: datetime, now: datetime) -> tuple[Rollback, int]:
        """claimed → claimed: take the lease for a call to the target, and mark the tool as unsettled.

        Args:
            holder: the process that calls; no other process does before `until`.

        Returns:
            The rollback and the call's sequence number.

        Raises:
            RollbackRefused: it is no longer claimed, another process carries it out, or it is not due yet.
        """
        with self._database.write() as connection:
            claimed = self._locked(connection, rollback_id)
            if claimed.next_attempt_at is not None and now < claimed.next_attempt_at:
                raise RollbackRefused(f"{name_of(claimed)} is tried again at {claimed.next_attempt_at.isoformat()}")
            _refuse_stale(connection, claimed)
            again = 0 if claimed.next_attempt_at is None else 1
            attempted = moved(
                connection, rollback_states.ATTEMPT, claimed, attempts=claimed.attempts + again, next_attempt_at=None
            )
            sequence = actuator_leases.take(connection, claimed.tool_name, holder=holder, until=until, now=now)
            if sequence is None:
                raise RollbackRefused(f"{name_of(claimed)} is being carried out by another process")
            return attempted, sequence

    def restored(self, rollback_id: int, *, sequence: int, output: str | None, now: datetime) -> Rollback:
        """claimed → restored: the target has acknowledged that it runs the version.

        Raises:
            RollbackRefused: a person overtook it, or another process called the target since; the caller must put
                right what the target runs.
        """
        with self._database.write() as connection:
            claimed = self._locked(connection, rollback_id)
            _refuse_late(connection, claimed, sequence)
            values = {"restored_at": now, "sequence": sequence, "output": output}
            return moved(connection, rollback_states.RESTORE, claimed, **values)

    def postpone(
        self,
        rollback_id: int,
        *,
        sequence: int | None,
        error: str,
        output: str | None,
        next_attempt_at: datetime,
        event: dict[str, Any] | None,
        now: datetime,
    ) -> Rollback:
        """claimed → claimed: the target did not acknowledge, so it may run either version; the call is repeated.

        Args:
            sequence: the call's number; None for a file of the folder that could not be written.

        Raises:
            RollbackRefused: a person overtook it, or another process called the target since.
        """
        with self._database.write() as connection:
            claimed = self._locked(connection, rollback_id)
            _refuse_late(connection, claimed, sequence)
            values = {"error": error, "output": output, "next_attempt_at": next_attempt_at}
            postponed = moved(connection, rollback_states.POSTPONE, claimed, **values)
            if event is not None:
                _tell(connection, postponed, event, now)
            return postponed

    def finish(
        self, rollback_id: int, *, restore: Callable[[Version | None], None] | None, event: EventOf, now: datetime
    ) -> Rollback:
        """claimed or restored → finished: move the live pointer, close the session, quarantine, and notify people.

        One transaction that holds the tool's lock does all of it. After a crash it can run again with the same result;
        of two processes that run it at once, one does.

        Args:
            restore: puts the version's code into the folder, or, for None, removes the file, as the last act; the
                transaction fails with it. None if a target already runs the version.
            event: the event that notifies people of the finished rollback.

        Returns:
            The rollback: finished; or claimed again if the target was called since it acknowledged.

        Raises:
            RollbackRefused: another process finished it, or a person overtook it.
        """
        with self._database.write() as connection:
            going = self._locked(connection, rollback_id)
            if restore is None and going.state != "restored":
                raise RollbackRefused(f"{name_of(going)} is {going.state}, and no target has restored it")
            if restore is None and not actuator_leases.is_latest(connection, going.tool_name, going.sequence):
                return moved(connection, rollback_states.REPEAT, going, sequence=None)
            _refuse_stale(connection, going)
            version = None if going.withdraws else versions.get(connection, going.tool_name, going.to_version or 0)
            finished = moved(
                connection,
                rollback_states.FINISH,
                going,
                rollback_successful=True,
                rollback_time=now,
                restored_at=going.restored_at or now,
                finished_at=now,
                next_attempt_at=None,
                error=None,
                verification_note=None if going.session_id else "made without a session: there is no baseline",
            )
            _move_pointer(connection, finished, now)
            _close_session(connection, finished, now)
            _quarantine(connection, finished, now)
            _tell(connection, finished, event(finished), now)
            if restore is None:
                actuator_leases.settled(connection, finished.tool_name)
            else:
                restore(version)
            return finished

    def fail(
        self,
        rollback_id: int,
        error: str,
        *,
        event: dict[str, Any] | None,
        now: datetime,
        next_attempt_at: datetime | None = None,
    ) -> Rollback:
        """claimed → failed: the file could not be written, and is unchanged. The session stays active.

        Args:
            next_attempt_at: a check that still finds the regression tries again, but not earlier.

        Raises:
            RollbackRefused: it is no longer claimed.
        """
        with self._database.write() as connection:
            claimed = self._locked(connection, rollback_id)
            values = {"finished_at": now, "error": error, "next_attempt_at": next_attempt_at}
            failed = moved(connection, rollback_states.FAIL, claimed, **values)
            if event is not None:
                _tell(connection, failed, event, now)
            return failed

    def verify(
        self, rollback_id: int, *, success: bool | None, note: str, event: dict[str, Any] | None, now: datetime
    ) -> bool:
        """finished → finished: record whether it helped, or, with None, that nobody can know. Once.

        Returns:
            Whether this call recorded it.
        """
        with self._database.write() as connection:
            values = {"verified_at": None if success is None else now, "verification_success": success}
            pending = r.c.verification_note.is_(None)
            verified = rollback_states.move(
                connection, rollback_states.VERIFY, rollback_id, pending, verification_note=note, **values
            )
            if verified is not None and event is not None:
                outbox.add(connection, event, now)
            return verified is not None

    def _locked(self, connection: Connection, rollback_id: int) -> Rollback:
        """Take the tool's lock and return the rollback as it is then."""
        self._database.lock_tool(connection, get(connection, rollback_id).tool_name)
        return get(connection, rollback_id)


# --- steps of the finishing transaction ------------------------------------------------------------------------------


def _move_pointer(connection: Connection, finished: Rollback, now: datetime) -> None:
    by, name = finished.requested_by or "rollguard", finished.tool_name
    rollout_states.end_of_tool(connection, name, at=now, by=by, why=f"rolled back: {finished.reason}")
    if finished.withdraws:
        versions.withdraw(connection, finished.tool_name, now)
        return
    live = versions.live(connection, name)
    if finished.rollout_id is not None and live is not None and live.version_number == finished.to_version:
        return  # it served all along
    versions.move_pointer(
        connection,
        name,
        finished.to_version or 0,
        at=now,
        by=by,
        reason=finished.reason,
        ended_by="rollback",
    )


def _close_session(connection: Connection, finished: Rollback, now: datetime) -> None:
    if finished.session_id is None:
        with_it = sa.and_(m.c.tool_name == finished.tool_name, m.c.status == "active")
        connection.execute(
            sa.update(m).where(with_it).values(status="superseded", completed_at=now, notes=finished.reason)
        )
    if finished.session_id is not None and not sessions.close(
        connection, finished.session_id, now, status="rolled_back", notes=finished.reason
    ):
        raise RollbackRefused(f"session {finished.session_id} of {finished.tool_name} is no longer active")


def _quarantine(connection: Connection, finished: Rollback, now: datetime) -> None:
    if finished.quarantines and finished.from_version is not None:
        bad = versions.get(connection, finished.tool_name, finished.from_version)
        quarantine.add(connection, bad, reason=finished.reason, rollback_id=finished.rollback_id, now=now)


def _refuse_stale(connection: Connection, going: Rollback) -> None:
    """Raise `RollbackRefused` if the decision is out of date."""
    stale = _why_stale(connection, going)
    if stale is not None and going.state in rollback_states.OPEN:  # if not open, the transition refuses it
        raise RollbackRefused(f"{going.tool_name}: {stale}")


def _refuse_late(connection: Connection, claimed: Rollback, sequence: int | None) -> None:
    """Raise `RollbackRefused` if others took over during a call, because its result is out of date."""
    if (
        claimed.state == "claimed"
        and sequence is not None
        and not actuator_leases.is_latest(connection, claimed.tool_name, sequence)
    ):
        raise RollbackRefused(f"{name_of(claimed)} took so long that another process carries it out")


def _why_stale(connection: Connection, going: Rollback) -> str | None:
    live = versions.live(connection, going.tool_name)
    expected = (going.from_version,) if going.rollout_id is None else (going.from_version, going.to_version)
    if (live.version_number if live else None) not in expected:
        return f"version {going.from_version} is no longer live"
    if going.session_id is not None:
        session = sessions.get(connection, going.session_id)
        if not session.active:
            return f"session {session.session_id} is {session.status}"
    return None


def _tell(connection: Connection, rollback: Rollback, event: dict[str, Any], now: datetime) -> None:
    """Write the event of a rollback down. It waits a little for the investigation, which comes after the rollback."""
    investigated = rollback.session_id is None or rollback.investigation is not None
    outbox.add(connection, event, now, wait=timedelta(0) if investigated else _FOR_INVESTIGATION)
