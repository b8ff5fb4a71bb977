"""The stage that reports quarantined code that somebody put back by hand."""

from __future__ import annotations

from datetime import datetime

from rollguard.monitor.session_checks import moment_of
from rollguard.registry import ToolRegistry
from rollguard.rollback import notice_quarantined_files
from rollguard.store import ExecutionStore


class QuarantineStage:
    """Notifies people, once, of each tool whose file holds code that is in quarantine.

    Args:
        store: where the quarantine is kept.
        registry: whose folder holds the files.
    """

    name = "quarantine"

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store, self._registry = store, registry

    def run(self, now: datetime | None) -> dict[str, int]:
        """Compare the files with the quarantine."""
        notice_quarantined_files(self._store, self._registry, moment_of(now))
        return {}
