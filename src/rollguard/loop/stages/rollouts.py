"""The stage that counts the units of rollouts soon after they ended, and advances, holds or ends the rollouts."""

from __future__ import annotations

from datetime import datetime

from rollguard.loop.stages.health import count
from rollguard.monitor.deployment_monitor import DeploymentMonitor


class RolloutsStage:
    """Checks the sessions of open rollouts every two seconds.

    A unit is counted some seconds after its draw, when no execution arrives any more that would cause a check.

    Args:
        monitor: makes the checks and the rollbacks.
    """

    name = "rollouts"
    interval_seconds = 2.0

    def __init__(self, monitor: DeploymentMonitor) -> None:
        self._monitor = monitor

    def run(self, now: datetime | None) -> dict[str, int]:
        """Check the sessions of open rollouts."""
        judged = {rollout.session_id for rollout in self._monitor.store.rollouts.open()}
        if not judged:
            return {}
        active = self._monitor.get_active_sessions()
        sessions = [one for one in active if one.session_id in judged and one.invalid_rules is None]
        counts = count(self._monitor.session_checks.run(sessions, now, scheduled=False))
        counts["arrival_checks"] = counts.pop("checks")
        return counts
