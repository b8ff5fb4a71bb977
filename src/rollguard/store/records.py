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
        """When the watch ends."""
        return self.deployment_time + timedelta(hours=self.rules.monitoring_window_hours)


@dataclass(frozen=True, slots=True)
class Rollback:
    """One rollback: its journal while it is under way, its history afterwards.

    Attributes:
        state: claimed, finished, failed (with `error`; retried while its session is active) or overtaken (a person
            deployed or cancelled first).
        to_version: the version restored; None when there is none to go back to.
        investigation: error signatures since the deployment against before.
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

    execution_id: str | None
    executed_at: datetime
    version_number: int | None
    error_type: str | None
    error: str | None
    parameters: str | None
