"""Rollbacks and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollguard.model.session import Session


@dataclass(frozen=True, slots=True)
class Rollback:
    """One rollback: its journal while it is under way, its history afterwards.

    Attributes:
        state: claimed, restored (outside, and not in the books yet), finished, failed (with `error`; retried while its
            session is active), observed (its session only observes), capped (too many rollbacks in a day) or overtaken
            (a person deployed or cancelled first).
        to_version: the version restored; None when there is none to go back to.
        investigation: error signatures since the deployment against before.
        actuator: what restores the version: folder, command or webhook.
        sequence: number of the call outside that was acknowledged.
        output: the end of what the actuator said.
        next_attempt_at: it is not tried again before.
        quarantines: whether the code it takes away is quarantined at its end.
        verified_at: when enough calls of the restored version were seen; None before, and where there never were.
        verification_success: whether the restored version recovered.
        verification_note: what was seen of it, or why nothing could be.
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

    @property
    def open(self) -> bool:
        """Whether it is decided and not over yet."""
        return self.state in ("claimed", "restored")


@dataclass(frozen=True, slots=True)
class Unverified:
    """A finished rollback of which nobody has said yet whether it helped.

    Attributes:
        session: the session that was rolled back, whose baseline the restored version is held against.
        live_until: when the restored version was replaced; None while it is live.
    """

    rollback: Rollback
    session: Session
    live_until: datetime | None

    @property
    def until(self) -> datetime:
        """When waiting for calls of the restored version ends."""
        window = self.rollback.rollback_time + timedelta(hours=self.session.rules.monitoring_window_hours)
        return window if self.live_until is None else min(window, self.live_until)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Code that was rolled back and may not go live again; `lifted_at` is None while that is in force."""

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
    """A tool that lives elsewhere, and nobody knows in which version until it is asked for again."""

    tool_name: str
    since: datetime
    attempts: int
    last_error: str | None
