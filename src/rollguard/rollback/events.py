"""The events that notify people of rollbacks and quarantined code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rollguard.model.event import Event, EventKind, Level
from rollguard.model.rollback import Quarantined, Rollback


def finished_event(rollback: Rollback, now: datetime) -> dict[str, Any]:
    """Return the event of a rollback that was carried out."""
    title = f"{rollback.tool_name}: rolled back from version {rollback.from_version} to {rollback.to_version}"
    if rollback.withdraws:
        title = f"{rollback.tool_name}: version {rollback.from_version} is withdrawn, there was none before its release"
    level = Level.CRITICAL if rollback.regression_severity == "critical" else Level.WARNING
    level = level if rollback.blames else Level.INFO
    return _event(EventKind.ROLLED_BACK, level, rollback, title, (rollback.reason,), now)


def held_event(rollback: Rollback, now: datetime) -> dict[str, Any]:
    """Return the event of a rollback that was decided but is not carried out."""
    reasons = (rollback.error or "", rollback.reason)
    name = f"{rollback.tool_name}: version {rollback.from_version} regressed"
    if rollback.state == "observed":
        title = f"{name}, and is only observed"
        return _event(EventKind.ROLLBACK_OBSERVED, Level.WARNING, rollback, title, reasons, now)
    if rollback.state == "capped":
        title = f"{name}, and there were too many rollbacks today"
        return _event(EventKind.ROLLBACK_CAPPED, Level.CRITICAL, rollback, title, reasons, now)
    return failed_event(rollback, now)


def failed_event(rollback: Rollback, now: datetime, error: str | None = None) -> dict[str, Any]:
    """Return the event of a rollback that could not be carried out."""
    by_hand = rollback.rollback_type == "manual"  # the error was raised to the person who requested it
    judged, level = ("", Level.WARNING) if by_hand else (" regressed and", Level.CRITICAL)
    title = f"{rollback.tool_name}: version {rollback.from_version}{judged} could not be rolled back"
    reasons = (error or rollback.error or "", rollback.reason)
    return _event(EventKind.ROLLBACK_FAILED, level, rollback, title, reasons, now)


def verified_event(rollback: Rollback, note: str, now: datetime, *, recovered: bool) -> dict[str, Any]:
    """Return the event of a verified rollback: the restored version recovered, or it did not."""
    if recovered:
        title = f"{rollback.tool_name}: version {rollback.to_version} recovered after the rollback"
        return _event(EventKind.RECOVERED, Level.INFO, rollback, title, (note,), now)
    title = f"{rollback.tool_name}: version {rollback.from_version} was not the cause, the rollback did not help"
    return _event(EventKind.NOT_THE_CAUSE, Level.CRITICAL, rollback, title, (note,), now)


def quarantined_event(held: Quarantined, now: datetime) -> dict[str, Any]:
    """Return the event of quarantined code in a tool's file."""
    return Event(
        EventKind.QUARANTINED_CODE,
        Level.CRITICAL,
        held.tool_name,
        None,
        f"{held.tool_name}: its file holds version {held.version_number} again, which is in quarantine",
        (
            "somebody put it there by hand; it is not served, the live version is",
            held.reason,
            "deploy the live version's code again to put the file right, or insist with: rollguard deploy --force",
        ),
        now.astimezone(UTC).isoformat(),
        {"version_number": held.version_number, "sha256": held.sha256, "rollback_id": held.rollback_id},
    ).to_dict()


def _event(
    kind: EventKind, level: Level, rollback: Rollback, title: str, reasons: tuple[str, ...], now: datetime
) -> dict[str, Any]:
    details = {
        "rollback_id": rollback.rollback_id,
        "rollback_type": rollback.rollback_type,
        "release_id": rollback.release_id,
        "rollout_id": rollback.rollout_id,
        "from_version": rollback.from_version,
        "to_version": rollback.to_version,
        "success_rate_drop": rollback.success_rate_drop,
        "regression_severity": rollback.regression_severity,
        "requested_by": rollback.requested_by,
        "investigation": rollback.investigation,
    }
    moment = now.astimezone(UTC).isoformat()
    return Event(kind, level, rollback.tool_name, rollback.session_id, title, reasons, moment, details).to_dict()
