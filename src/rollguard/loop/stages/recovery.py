"""The stage that finishes what a crash left."""

from __future__ import annotations

from datetime import datetime

from rollguard.rollback import RollbackRunner


class RecoveryStage:
    """Carries out rollbacks that a process claimed and did not live to finish.

    Args:
        runner: carries rollbacks out.
    """

    name = "recovery"

    def __init__(self, runner: RollbackRunner) -> None:
        self._runner = runner

    def run(self, now: datetime | None) -> dict[str, int]:
        """Finish what is open. See `RollbackRunner.recover`."""
        self._runner.recover(now)
        return {}
