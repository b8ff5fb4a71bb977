"""The stage that finishes rollbacks after a crash."""

from __future__ import annotations

from datetime import datetime

from rollguard.rollback import RollbackRunner


class RecoveryStage:
    """Carries out rollbacks that a process claimed but did not finish.

    Args:
        runner: carries rollbacks out.
    """

    name = "recovery"

    def __init__(self, runner: RollbackRunner) -> None:
        self._runner = runner

    def run(self, now: datetime | None) -> dict[str, int]:
        """Finish open rollbacks. See `RollbackRunner.recover`."""
        self._runner.recover(now)
        return {}
