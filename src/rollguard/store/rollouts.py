"""Rollouts: which two versions of a tool serve at once, at which share, and the units that are counted of both."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from rollguard.errors import DeploymentConflict, InvalidInput, UnknownVersion
from rollguard.judge import Arms
from rollguard.model.confirming import Confirming, continued
from rollguard.model.ramp import Plan, Ramp, State
from rollguard.model.rollout import CANARY, CONFIRM, Rollout, start_event
from rollguard.model.session import Session
from rollguard.model.split import Split
from rollguard.store import outbox, rollback_states, rollout_states
from rollguard.store.database.engine import Database
from rollguard.store.monitoring import sessions
from rollguard.store.monitoring.starting import Beginning
from rollguard.store.rollout_states import columns_of, rollout_of
from rollguard.store.rollout_units import MOST, Counts, units_of
from rollguard.store.schema import rollouts as o
from rollguard.store.versions import quarantine, versions
from rollguard.store.versions.channel import notify

_OPEN = o.c.ended_at.is_(None)
_CLOSED_AS = {  # what becomes of the session of a rollout that ends so
    State.UNPROVEN: {"status": "completed", "outcome": "unproven"},
    State.ABORTED: {"status": "cancelled"},
    State.FAILED: {"status": "cancelled"},
    State.SUPERSEDED: {"status": "superseded"},
}


class Rollouts:
    """The table `rollouts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, rollout_id: int) -> Rollout:
        """Return one rollout. Raise `UnknownVersion` if there is none with that number."""
        with self._database.read() as connection:
            found = rollout_states.get(connection, rollout_id)
        if found is None:
            raise UnknownVersion(f"there is no rollout {rollout_id}; see: rollguard status")
        return found

    def open(self) -> list[Rollout]:
        """Return the open rollouts, the oldest first."""
        return self._listed(sa.select(o).where(_OPEN).order_by(o.c.rollout_id))

    def open_of(self, tool_name: str) -> Rollout | None:
        """Return the open rollout of a tool; None if one version serves alone."""
        with self._database.read() as connection:
            return rollout_states.open_of(connection, tool_name)

    def of_sessions(self, session_ids: Sequence[int]) -> dict[int, Rollout]:
        """Return the latest rollout of each of these sessions that has one, by the session."""
        if not session_ids:
            return {}
        query = sa.select(o).where(o.c.session_id.in_(session_ids)).order_by(o.c.rollout_id)
        return {rollout.session_id: rollout for rollout in self._listed(query)}

    def of_session(self, session_id: int) -> list[Rollout]:
        """Return the rollouts of one session, the oldest first: one that it began with, or its confirmations."""
        return self._listed(sa.select(o).where(o.c.session_id == session_id).order_by(o.c.rollout_id))

    def recent(
        self, tool_name: str | None = None, limit: int | None = None, *, before: int | None = None
    ) -> list[Rollout]:
        """Return rollouts, the newest first; with `before` those older than that one."""
        query = sa.select(o).order_by(o.c.rollout_id.desc()).limit(limit)
        if before is not None:
            query = query.where(o.c.rollout_id < before)
        return self._listed(query if tool_name is None else query.where(o.c.tool_name == tool_name))

    def refuse(self, tool_names: Collection[str]) -> None:
        """Raise `ReleaseConflict` if one of these tools is under rollout. A confirmation holds no release up."""
        for rollout in self.open():
            if rollout.tool_name in tool_names and rollout.kind == CANARY:
                raise rollout_states.under_way(rollout)

    def splits(self) -> dict[str, Split]:
        """Return by what the calls of each tool under rollout are drawn, by the tool."""
        return {rollout.tool_name: split for rollout in self.open() if (split := rollout.split) is not None}

    def _listed(self, query: sa.Select[Any]) -> list[Rollout]:
        with self._database.read() as connection:
            return [rollout_of(row) for row in connection.execute(query)]

    # --- changing --------------------------------------------------------------------------------------------------

    def begin(
        self,
        tool_name: str,
        version_number: int,
        *,
        shares: Sequence[float],
        expected_live: int | None,
        watch: Beginning,
        started_by: str,
        reason: str | None,
        started_at: datetime,
        force: bool = False,
    ) -> Rollout:
        """Let a version serve beside the live one. An open rollout of the tool becomes `superseded`.

        If this version serves beside the live one already, nothing is changed.

        Args:
            shares: its share in each stage.
            expected_live: the deployment that the caller saw live; None if it saw none.
            watch: starts the session that judges it, in the same transaction.
            force: lift the quarantine of the version's code, if it has one.

        Raises:
            InvalidInput: the stages are invalid, or no other version is live.
            CodeQuarantined: the version's code was rolled back, and `force` is False.
            DeploymentConflict: something else went live in the meantime, or a rollback is under way.
        """
        ramp = Ramp.start(Plan.of(shares, watch.rules), started_at)
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            live = versions.live(connection, tool_name)
            if (live.deployment_id if live else None) != expected_live:
                raise DeploymentConflict(f"{tool_name}: another version went live in the meantime; deploy again")
            if live is None or live.version_number == version_number:
                raise InvalidInput(f"rollout: no other version of {tool_name} is live to serve beside")
            known = rollout_states.open_of(connection, tool_name)
            if known is not None and known.new_version == version_number:
                return known
            if rollback_states.is_under_way(connection, tool_name):
                raise DeploymentConflict(f"{tool_name}: a rollback is under way; deploy again when it is over")
            version = versions.get(connection, tool_name, version_number)
            quarantine.refuse_or_lift(connection, version, force=force, by=started_by, now=started_at)
            why = f"{started_by} began a rollout of version {version_number}"
            rollout_states.end_of_tool(connection, tool_name, at=started_at, by=started_by, why=why)
            session = watch.begin_beside(connection, tool_name, version_number, started_at)
            row = connection.execute(
                sa.insert(o)
                .values(
                    tool_name=tool_name,
                    kind=CANARY,
                    session_id=session.session_id,
                    old_version=live.version_number,
                    new_version=version_number,
                    draw_key=os.urandom(32),
                    started_at=started_at,
                    started_by=started_by,
                    reason=reason,
                    **columns_of(ramp),
                )
                .returning(o)
            ).one()
            notify(connection, tool_name)
            begun = rollout_of(row)
            outbox.add(connection, start_event(begun, started_at), started_at)
            return begun

    def begin_confirmation(
        self, session: Session, old_version: int, *, why: str, now: datetime, event: dict[str, Any]
    ) -> Rollout | None:
        """Let the version before serve beside the live one, to confirm what the session's check found.

        The counts go on from earlier confirmations of the session.

        Args:
            event: the event that notifies people of it.

        Returns:
            The rollout; None if another decision came first.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, session.tool_name)
            live = versions.live(connection, session.tool_name)
            busy = rollout_states.open_of(connection, session.tool_name) is not None
            busy = busy or rollback_states.is_under_way(connection, session.tool_name)
            active = sessions.get(connection, session.session_id).active
            if busy or not active or live is None or live.version_number != session.version_number:
                return None
            arms = continued(rollout_states.latest_arms(connection, session.session_id))
            row = connection.execute(
                sa.insert(o)
                .values(
                    tool_name=session.tool_name,
                    kind=CONFIRM,
                    session_id=session.session_id,
                    old_version=old_version,
                    new_version=live.version_number,
                    draw_key=os.urandom(32),
                    started_at=now,
                    started_by="rollguard",
                    reason=why,
                    arms=None if arms is None else arms.to_dict(),
                    **columns_of(Confirming.begin(session.rules, arms.counted if arms else 0, now)),
                )
                .returning(o)
            ).one()
            notify(connection, session.tool_name)
            outbox.add(connection, event, now)
            return rollout_of(row)

    def move(
        self,
        known: Rollout,
        ramp: Ramp,
        *,
        by: str,
        now: datetime,
        why: str | None = None,
    ) -> Rollout | None:
        """Change the state of a rollout that is as it was read, with what belongs to it. One that ends closes its
        session, unless it is promoted: `Versions.go_live` does that.

        Args:
            by, why: who changes it, and why.

        Returns:
            The rollout; None if somebody else changed it since, so that nothing was done.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, known.tool_name)
            moved = rollout_states.move(connection, known, ramp, by=by, at=now, why=why)
            if moved is None:
                return None
            if ramp.ended and known.kind == CANARY:
                closed = _CLOSED_AS[ramp.state]
                sessions.close(connection, known.session_id, now, **closed, notes=f"rollout {ramp.state}: {why}")
                error = f"the rollout was {ramp.state} first"
                rollback_states.call_off(connection, [known.session_id], at=now, error=error)
            return moved

    # --- counting --------------------------------------------------------------------------------------------------

    def counted(
        self,
        known: Rollout,
        *,
        baseline: tuple[int, int],
        until: datetime,
        now: datetime,
        limit: timedelta,
        counts: Counts = lambda _error_type, _duration: True,
    ) -> Rollout:
        """Count the units that are final by now, and keep the counts. What was counted never changes.

        Several processes may count at once: one of them keeps what it counted, the others take that.

        Args:
            baseline: calls and failures of the baseline. Those of the first count stay.
            until: the latest draw that is counted now; what was drawn later may not be known yet.
            limit: after which time a unit has failed, and the outcome of a request is final.
            counts: whether a failure counts as one; by one that does not, its unit has not failed.
        """
        rollout, most = known, MOST
        while rollout.open:
            arms = rollout.arms or Arms(*baseline, confirms=rollout.kind == CONFIRM)
            with self._database.read() as connection:
                drawn = units_of(connection, rollout, until=until, now=now, counts=counts, most=most)
            after = arms.and_units(drawn.units, drawn.now, limit)
            number = after.counted - arms.counted
            if number or rollout.arms is None:
                place = drawn.places[number - 1] if number else (None, 0)
                rollout = self._keep(rollout, after, place)
            if drawn.whole:
                break
            most = most if number else 4 * most
        return rollout

    def _keep(self, known: Rollout, arms: Arms, place: tuple[datetime | None, int]) -> Rollout:
        same = sa.and_(
            o.c.rollout_id == known.rollout_id,
            _OPEN,
            o.c.counted_id == known.counted_id,
            o.c.counted_until.is_not_distinct_from(known.counted_until),
        )
        kept = {"arms": arms.to_dict(), "counted_until": place[0], "counted_id": place[1]}
        with self._database.write(durable=False) as connection:
            connection.execute(sa.update(o).where(same).values(**kept))
            row = connection.execute(sa.select(o).where(o.c.rollout_id == known.rollout_id)).one()
            return rollout_of(row)
