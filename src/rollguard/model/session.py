"""Sessions: each is the monitoring of one deployment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollguard.judge import EarlierVersions, LeftOut, Rules, Window

STRAGGLERS = timedelta(minutes=15)  # how late executions from before a deployment may arrive


@dataclass(frozen=True, slots=True)
class Session:
    """The monitoring of one deployment.

    Attributes:
        status: active, completed, rolled_back, superseded (a newer deployment took over) or cancelled.
        outcome: of a completed session: healthy, unproven (the window ended without enough data) or regressed.
        version_number: the monitored version; None if the tool's versions are unknown.
        live_before: when that version was last live before this deployment; None if it never was.
        rules: the rules that it is judged by, fixed when the session began.
        baseline: the counts of its baseline, once they no longer change; None until then.
        baseline_notes: why its baseline is not uniform, as sentences.
        left_out: what its baseline does not count; None until a check found it.
        earlier_versions: the counts of the tool's earlier good versions; None until a check read them.
        creeping: than which earlier version it was first found worse; None if it never was.
        release_id: the release that the deployment belongs to; a regression rolls all of it back.
        invalid_rules: why the stored rules are invalid, if they are. Then `rules` are defaults, and no check may use
            them: each is recorded as failed until somebody corrects the row or cancels the session.
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
    invalid_rules: str | None = None
    left_out: LeftOut | None = None
    earlier_versions: EarlierVersions | None = None
    creeping: str | None = None
    release_id: int | None = None

    @property
    def active(self) -> bool:
        """Return whether the deployment is still monitored."""
        return self.status == "active"

    @property
    def baseline_start(self) -> datetime:
        """Return when the days of the baseline begin; they end at the deployment, exclusively."""
        return self.deployment_time - timedelta(days=self.rules.baseline_window_days)

    @property
    def baseline_begins(self) -> datetime:
        """Return when the baseline begins, which may reach further back than its days."""
        return self.left_out.start if self.left_out and self.left_out.start else self.baseline_start

    @property
    def settles_at(self) -> datetime:
        """Return from when on its baseline is kept."""
        return self.deployment_time + STRAGGLERS

    @property
    def window_end(self) -> datetime:
        """Return when the session ends if it has enough data by then."""
        return self.deployment_time + timedelta(hours=self.rules.monitoring_window_hours)

    @property
    def last_end(self) -> datetime:
        """Return when the session ends at the latest."""
        return self.window_end + timedelta(hours=self.rules.extend_until_sufficient)
