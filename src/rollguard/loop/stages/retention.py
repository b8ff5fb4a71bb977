"""The stage that removes old executions."""

from __future__ import annotations

from datetime import datetime

from rollguard.store import ExecutionStore


class RetentionStage:
    """Removes executions that are older than the store keeps them.

    Args:
        store: holds the executions.
    """

    name = "retention"

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store

    def run(self, now: datetime | None) -> dict[str, int]:
        """Remove some old executions. See `ExecutionStore.tidy`."""
        self._store.tidy(now=now)
        return {}
