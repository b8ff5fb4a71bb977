"""Rollbacks, their verification, and quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollguard.model.session import Session


@dataclass(frozen=True, slots=True)
class Rollback:
    """One rollback, under way or ended.

    Attributes:
        state: claimed, restored (at the target, not yet in the database), finished, failed (with `error`; retried
            while its session is active), observed (its session only observes), capped (too many rollbacks in a day)
            or overtaken (a person deployed or cancelled first).
        to_version: the version to restore; None if there is no version to go back to, or, of a tool that its release
            added, if the tool is withdrawn.
        investigation: error signatures since the deployment and before it.
        actuator: what restores the version: folder, command or webhook.
        sequence: number of the actuator's call that was acknowledged.
        output: the end of the actuator's output.
        next_attempt_at: the earliest time of the next attempt.
        quarantines: whether the replaced code is quarantined when the rollback finishes.
        verified_at: when the restored version had enough calls; None before, or if it never had.
        verification_success: whether the restored version recovered.
        verification_note: what its calls showed, or why there were too few.
        rollout_id: the rollout that it ended: then `to_version` served beside `from_version`.
        release_id: the release that is rolled back as one. Without a session, the tool is so for another tool's sake.
    """

    rollback_id: int
    tool_name: str
    session_id: int | None
    rollback_time: datetime
    reason: str
    success_rate_drop: float | None
    regression_severity: str | None
    rollback_successful: bool
    rollback_type: str
    state: str
    from_version: int | None
    to_version: int | None
    requested_by: str | None
    attempts: int
    error: str | None
    investigation: dict[str, Any] | None
    claimed_at: datetime | None = None
    restored_at: datetime | None = None
    finished_at: datetime | None = None
    actuator: str = "folder"
    sequence: int | None = None
    output: str | None = None
    next_attempt_at: datetime | None = None
    quarantines: bool = False
    verified_at: datetime | None = None
    verification_success: bool | None = None
    verification_note: str | None = None
    release_id: int | None = None
    rollout_id: int | None = None

    @property
    def withdraws(self) -> bool:
        """Return whether it withdraws a tool that its release added, instead of restoring a version."""
        return self.to_version is None and self.release_id is not None and self.state not in ("failed", "observed")

    @property
    def blames(self) -> bool:
        """Return whether the tool itself regressed, or a person rolled it back; else it goes with its release."""
        return self.release_id is None or self.session_id is not None or self.rollback_type == "manual"

    @property
    def open(self) -> bool:
        """Return whether it is decided and not ended."""
        return self.state in ("claimed", "restored")


@dataclass(frozen=True, slots=True)
class Unverified:
    """A finished rollback that is not verified yet.

    Attributes:
        session: the session that was rolled back; the restored version is compared with its baseline.
        live_until: when the restored version was replaced; None while it is live.
    """

    rollback: Rollback
    session: Session
    live_until: datetime | None

    @property
    def until(self) -> datetime:
        """Return when Rollguard stops waiting for calls of the restored version."""
        window = self.rollback.rollback_time + timedelta(hours=self.session.rules.monitoring_window_hours)
        return window if self.live_until is None else min(window, self.live_until)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Code that was rolled back and goes live again only with `force`; `lifted_at` is None while that holds."""

    quarantine_id: int
    tool_name: str
    sha256: str
    version_number: int
    rollback_id: int
    reason: str
    quarantined_at: datetime
    noticed_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A remote tool whose version at the target is unknown until its actuator is called again."""

    tool_name: str
    since: datetime
    attempts: int
    last_error: str | None
