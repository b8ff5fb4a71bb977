"""Carrying a rollback out: claim, restore and finish. Safe to run anywhere, any number of times."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rollguard.errors import NoEarlierVersion, RollbackRefused, ToolFileError, UnknownTool
from rollguard.notify import Event, EventKind, Level
from rollguard.registry import ToolRegistry
from rollguard.rollback.investigation import investigation_of
from rollguard.store import ExecutionStore, Intention, Rollback

logger = logging.getLogger(__name__)


class RollbackRunner:
    """Restores the last good version of a tool.

    Args:
        store: where the journal is kept.
        registry: whose folder holds the tools.
    """

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store = store
        self._registry = registry

    def roll_back(self, intention: Intention, now: datetime) -> Rollback:
        """Claim the rollback and carry it out.

        Returns:
            The rollback: finished, or failed with its `error`.

        Raises:
            RollbackRefused: somebody decided first, or the version is no longer live.
            StoreUnavailable: the database went away; what was claimed is carried out by `recover`.
        """
        claimed = self._store.rollbacks.claim(intention, event_if_failed=partial(_failed_event, now=now), now=now)
        return self._carry_out(claimed, now) if claimed.state == "claimed" else claimed

    def roll_back_by_hand(
        self, tool_name: str, *, to_version: int | None, reason: str, requested_by: str, now: datetime
    ) -> Rollback:
        """Roll a tool back because a person says so; a session that watches it is closed by it.

        Args:
            to_version: the version to restore; None takes the last good one.

        Returns:
            The finished rollback.

        Raises:
            UnknownTool: the tool was never deployed.
            UnknownVersion: it has no such version.
            NoEarlierVersion: there is nothing to go back to; that is recorded.
            RollbackRefused: another rollback of it is under way, or the version is live already.
            ToolFileError: the file could not be written; that is recorded.
        """
        live = self._store.versions.live(tool_name)
        if live is None:
            raise UnknownTool(f"{tool_name} was never deployed, so there is nothing to roll back")
        session = next(iter(self._store.sessions.active(tool_name)), None)
        rollback = self.roll_back(
            Intention(
                tool_name=tool_name,
                session_id=session.session_id if session else None,
                from_version=live.version_number,
                to_version=to_version,
                reason=reason,
                rollback_type="manual",
                requested_by=requested_by,
                investigation=investigation_of(self._store, session, now) if session else None,
            ),
            now,
        )
        if rollback.state != "finished":
            failure = NoEarlierVersion if rollback.to_version is None else ToolFileError
            raise failure(rollback.error or f"{tool_name} could not be rolled back")
        return rollback

    def recover(self, now: datetime) -> list[Rollback]:
        """Carry out what was claimed by a process that is no more, or is at it this moment: it happens once.

        Returns:
            The rollbacks that this call brought to an end.
        """
        ended = []
        for claimed in self._store.rollbacks.open():
            try:
                ended.append(self._carry_out(claimed, now))
            except RollbackRefused as refusal:
                logger.info("nothing to recover: %s", refusal)
        return ended

    def _carry_out(self, claimed: Rollback, now: datetime) -> Rollback:
        try:
            self._registry.keep_hand_edit(claimed.tool_name)
            finished = self._store.rollbacks.finish(
                claimed.rollback_id,
                restore=self._registry.put,
                event=partial(_finished_event, now=now),
                now=now,
            )
        except ToolFileError as error:
            # Told once: the retries of the same rollback would only repeat it.
            event = _failed_event(claimed, now=now, error=str(error)) if claimed.attempts == 1 else None
            return self._store.rollbacks.fail(claimed.rollback_id, str(error), event=event, now=now)
        self._registry.refresh()
        return finished


def _finished_event(rollback: Rollback, now: datetime) -> dict[str, Any]:
    title = f"{rollback.tool_name}: rolled back from version {rollback.from_version} to {rollback.to_version}"
    level = Level.CRITICAL if rollback.regression_severity == "critical" else Level.WARNING
    return _event(EventKind.ROLLED_BACK, level, rollback, title, (rollback.reason,), now)


def _failed_event(rollback: Rollback, now: datetime, error: str | None = None) -> dict[str, Any]:
    judged = "" if rollback.rollback_type == "manual" else " regressed and"
    title = f"{rollback.tool_name}: version {rollback.from_version}{judged} could not be rolled back"
    reasons = (error or rollback.error or "", rollback.reason)
    return _event(EventKind.ROLLBACK_FAILED, Level.CRITICAL, rollback, title, reasons, now)


def _event(
    kind: EventKind, level: Level, rollback: Rollback, title: str, reasons: tuple[str, ...], now: datetime
) -> dict[str, Any]:
    details = {
        "rollback_id": rollback.rollback_id,
        "rollback_type": rollback.rollback_type,
        "from_version": rollback.from_version,
        "to_version": rollback.to_version,
        "success_rate_drop": rollback.success_rate_drop,
        "regression_severity": rollback.regression_severity,
        "requested_by": rollback.requested_by,
        "investigation": rollback.investigation,
    }
    moment = now.astimezone(UTC).isoformat()
    return Event(kind, level, rollback.tool_name, rollback.session_id, title, reasons, moment, details).to_dict()
