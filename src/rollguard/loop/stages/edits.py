"""The stage that starts monitoring edits that a process without a monitor serves."""

from __future__ import annotations

from datetime import datetime

from rollguard.monitor.deployment_monitor import DeploymentMonitor


class EditsStage:
    """Starts the session of each edit in a folder that has none yet.

    Args:
        monitor: has the rules for each tool.
    """

    name = "edits"
    interval_seconds = 10.0

    def __init__(self, monitor: DeploymentMonitor) -> None:
        self._monitor = monitor

    def run(self, now: datetime | None) -> dict[str, int]:
        """Start the sessions. See `DeploymentMonitor.watch_edits`."""
        self._monitor.watch_edits(now=now)
        return {}
