"""The claim: the one transaction that decides a rollback, of a tool or of all tools of a release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import NoEarlierVersion
from rollguard.model.rollback import Rollback
from rollguard.store import outbox, rollback_states
from rollguard.store.database.engine import Database
from rollguard.store.rollbacks import claim as claims
from rollguard.store.rollbacks import of_release
from rollguard.store.rollbacks.claim import Intention
from rollguard.store.rollbacks.rows import moved, rollback_of
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.versions import releases

FOLDER = "folder"

EventOf = Callable[[Rollback], dict[str, Any]]  # the event that notifies people of a rollback


class Claims:
    """Decides rollbacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self,
        intention: Intention,
        *,
        event_if_held: EventOf,
        now: datetime,
        actuator_of: Callable[[str], str] = lambda _name: FOLDER,
    ) -> Rollback:
        """Record the intention if its session is active, its version live and no other rollback decided.

        With a release, the rollbacks of its other tools are recorded in the same transaction. The record says so if it
        is not to be carried out: nothing to go back to, a session that only observes, too many rollbacks in a day. A
        rollback that was held before is claimed again, or stays as it is.

        Args:
            event_if_held: the event that notifies people, once, if it is not to be carried out.
            actuator_of: returns, for a tool, what will restore its version.

        Raises:
            RollbackRefused: another decision came first, or the version is no longer live.
            CodeQuarantined: the version to restore is in quarantine.
            UnknownVersion: there is no such version.
            NoEarlierVersion: a person requests it, and there is no version to go back to.
        """
        with self._database.write() as connection:
            self._lock(connection, intention)
            decision = _decide(connection, intention, now)
            if decision.state != "claimed":
                return _write(connection, intention, decision, actuator_of, event_if_held, now)
            extent = of_release.extent_of(connection, intention, decision)
            cause = replace(intention, reason="; ".join(filter(None, (intention.reason, extent.says))))
            claimed = _write(connection, cause, decision, actuator_of, event_if_held, now)
            if claimed.state == "claimed":
                _write_others(connection, extent, actuator_of, event_if_held, now)
            return claimed

    def planned(self, intention: Intention, now: datetime) -> tuple[claims.Decision, of_release.Extent]:
        """Return what `claim` would decide now, and what goes with it. Nothing is recorded; the errors are the same."""
        with self._database.read() as connection:
            decision = _decide(connection, intention, now)
            return decision, of_release.extent_of(connection, intention, decision)

    def planned_release(self, cause: Intention) -> of_release.Extent:
        """Return what `claim_release` would record now. Nothing is recorded; the errors are the same."""
        with self._database.read() as connection:
            return _extent_by_hand(connection, cause)

    def claim_release(
        self, cause: Intention, *, actuator_of: Callable[[str], str], now: datetime
    ) -> tuple[list[Rollback], list[str]]:
        """Record the rollbacks of all tools of a release, on a person's request. `cause` names no tool.

        Returns:
            The rollbacks, and sentences on the tools that stay as they are.

        Raises:
            NoEarlierVersion: no tool of the release can be rolled back; nothing is recorded.
        """
        with self._database.write() as connection:
            self._lock(connection, cause)
            extent = _extent_by_hand(connection, cause)
            return _write_others(connection, extent, actuator_of, None, now), extent.left

    def _lock(self, connection: Connection, intention: Intention) -> None:
        """Take the locks of all tools that the intention is about, in the order of their names."""
        names = set() if intention.release_id is None else of_release.names_of(connection, intention.release_id)
        names |= {intention.tool_name} - {""}
        together = {other for name in names for other in of_release.together_with(connection, name)}
        for name in sorted(names | together):
            self._database.lock_tool(connection, name)


# --- steps of the claim ----------------------------------------------------------------------------------------------


def _decide(connection: Connection, intention: Intention, now: datetime) -> claims.Decision:
    decision = claims.decide(connection, intention, now, **of_release.of_cause(connection, intention))
    claims.refuse_under_way(connection, intention.tool_name)
    return decision


def _extent_by_hand(connection: Connection, cause: Intention) -> of_release.Extent:
    extent = of_release.extent_of(connection, cause)
    if not extent.others:
        left, label = "; ".join(extent.left) or "it changed none", extent.release.label if extent.release else ""
        raise NoEarlierVersion(f"no tool of release {label} can be rolled back: {left}")
    return extent


def _write(
    connection: Connection,
    intention: Intention,
    decision: claims.Decision,
    actuator_of: Callable[[str], str],
    event_if_held: EventOf | None,
    now: datetime,
) -> Rollback:
    earlier = claims.earlier_of_session(connection, intention)
    actuator = of_release.actuator_in(connection, actuator_of, intention.tool_name, decision.from_version)
    values = claims.row_of(intention, decision, actuator, now)
    if earlier is None:
        written = rollback_of(connection.execute(sa.insert(r).values(**values).returning(r)).one())
        if written.state != "claimed" and event_if_held is not None:
            outbox.add(connection, event_if_held(written), now)
    elif decision.state != "claimed":
        return rollback_of(earlier)
    else:
        del values["state"]
        values["attempts"] = earlier.attempts + int(earlier.state == "failed")
        written = moved(connection, rollback_states.CLAIM_AGAIN, rollback_of(earlier), **values)
    if written.state == "claimed":
        claims.end_rollout(connection, written, now)
    return written


def _write_others(
    connection: Connection,
    extent: of_release.Extent,
    actuator_of: Callable[[str], str],
    event_if_held: EventOf | None,
    now: datetime,
) -> list[Rollback]:
    if extent.release is not None:
        releases.roll_back(connection, extent.release.release_id)
    return [
        _write(connection, intention, decision, actuator_of, event_if_held, now)
        for intention, decision in extent.others
    ]
