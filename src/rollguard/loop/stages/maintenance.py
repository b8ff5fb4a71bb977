"""The stage of maintenance: what has to be done once in a while, by one of all loops."""

from __future__ import annotations

from datetime import datetime, timedelta

from rollguard.model.given import checked_now
from rollguard.store import ExecutionStore

_LONGEST_INTERVAL = 3_600.0


class MaintenanceStage:
    """Removes all executions that are older than the store keeps them, and refreshes the rollups.

    Args:
        store: holds the executions.
        hours: time between two runs, of any loop on this store.
    """

    name = "maintenance"
    beside_monitoring = True

    def __init__(self, store: ExecutionStore, hours: float) -> None:
        self._store, self._every = store, timedelta(hours=hours)
        self.interval_seconds = min(_LONGEST_INTERVAL, self._every.total_seconds())

    def run(self, now: datetime | None) -> dict[str, int]:
        """Do it, if it is due."""
        moment = checked_now(now)
        if not self._store.loop_statistics.begin_if_due("maintenance_runs", self._every, moment):
            return {}
        self._store.fold()
        self._store.tidy(now=moment)
        return {"maintenance_runs": 1}
