"""Rows as the rest of the code sees them: frozen, typed, times in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollguard.judge import Rules, Window


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable, numbered state of a tool's code."""

    tool_name: str
    version_number: int
    code: bytes
    sha256: str
    kind: str
    created_by: str
    reason: str | None
    parent_version: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VersionRecord(Version):
    """A version and what became of it, as far as is known now.

    Attributes:
        is_live: whether it is live now.
        times_deployed: how often it went live; 0 for one that never did.
        times_restored: how many of these times a rollback brought it back.
        was_rolled_back: whether a rollback ever took it away.
        rolled_back_reason: why, the latest time.
        executions: calls that name it and, of those that name no version, the calls while it was live.
        success_rate: the share of them that succeeded; None without any.
        avg_duration_ms: how long they took on average; None where no duration is known.
    """

    is_live: bool
    times_deployed: int
    times_restored: int
    first_deployed_at: datetime | None
    last_deployed_at: datetime | None
    was_rolled_back: bool
    rolled_back_reason: str | None
    executions: int
    successes: int
    success_rate: float | None
    avg_duration_ms: float | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version's time of being live. `ended_at` is None for the one that is live now.

    Attributes:
        ended_by: what took its place: `deployment` or `rollback`.
        kind: what made it: `deployment`, or `rollback` where a rollback brought the version back.
    """

    deployment_id: int
    tool_name: str
    version_number: int
    deployed_at: datetime
    deployed_by: str
    reason: str | None
    ended_at: datetime | None
    ended_by: str | None
    kind: str


@dataclass(frozen=True, slots=True)
class Session:
    """The watch over one deployment.

    Attributes:
        status: active, completed, rolled_back, superseded (a newer deployment took over) or cancelled.
        outcome: of a completed session: healthy, unproven (the window ended without enough data) or regressed.
        version_number: the version under watch; None where the tool's versions are not known.
        live_before: when that version was last live before this deployment, if it ever was.
        rules: what it is judged by, fixed when the session began.
        baseline: the counts of its baseline, once they no longer change; None until then.
        baseline_notes: what is mixed in its baseline, as sentences.
    """

    session_id: int
    tool_name: str
    deployment_time: datetime
    monitoring_started_at: datetime
    status: str
    completed_at: datetime | None
    notes: str | None
    version_number: int | None
    live_before: datetime | None
    outcome: str | None
    rules: Rules
    baseline: Window | None = None
    baseline_notes: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """Whether the deployment is still under watch."""
        return self.status == "active"

    @property
    def baseline_start(self) -> datetime:
        """Where the baseline begins; it ends, exclusively, at the deployment."""
        return self.deployment_time - timedelta(days=self.rules.baseline_window_days)

    @property
    def window_end(self) -> datetime:
        """When the watch ends, if it has enough data by then."""
        return self.deployment_time + timedelta(hours=self.rules.monitoring_window_hours)

    @property
    def last_end(self) -> datetime:
        """When the watch ends at the latest."""
        return self.window_end + timedelta(hours=self.rules.extend_until_sufficient)


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


@dataclass(frozen=True, slots=True)
class PendingNotification:
    """An event that not every channel has acknowledged yet."""

    notification_id: int
    event: dict[str, Any]
    delivered_to: tuple[str, ...]
    attempts: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed execution, for an investigation."""

    tool_name: str
    execution_id: str | None
    executed_at: datetime
    version_number: int | None
    error_type: str | None
    error: str | None
    parameters: str | None
