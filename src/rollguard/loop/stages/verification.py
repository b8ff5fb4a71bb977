"""The stage that verifies rollbacks: whether the restored version recovered."""

from __future__ import annotations

from datetime import datetime

from rollguard.monitor.session_checks import moment_of
from rollguard.rollback import verify_all
from rollguard.store import ExecutionStore


class VerificationStage:
    """Verifies whether finished rollbacks helped.

    Args:
        store: where rollbacks and executions are kept.
    """

    name = "verification"

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store

    def run(self, now: datetime | None) -> dict[str, int]:
        """Verify finished rollbacks. See `rollguard.rollback.verification.verify_all`."""
        verify_all(self._store, moment_of(now))
        return {}
