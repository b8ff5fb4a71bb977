"""Two versions of a tool at times of the test's own choosing: units are drawn as a process draws them, and stored."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rollguard.model.rollout import Rollout
from rollguard.model.split import Arm, Draws
from tests.conftest import NOW, Guard, code

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Beside:
    """A tool with a long baseline whose version 2 serves beside version 1 from `NOW` on.

    Args:
        guard: the tool's system.
        shares: the stages.
        rules: other rules of the session.
    """

    def __init__(self, guard: Guard, shares: Sequence[float] = (0.1, 0.25, 0.5), **rules: Any) -> None:
        self.guard, self.store, self.monitor = guard, guard.store, guard.monitor
        guard.deploy(1, at=NOW - timedelta(days=2))
        guard.calls(950, 50, start=NOW - timedelta(days=2), hours=40)
        self.watch = guard.monitor.watch("my_tool", now=NOW)
        self.watch.rules = self.watch.rules.with_overrides(rules)
        self.registry = guard.registry
        self.registry.deploy("my_tool", code(2), deployed_at=NOW, watch=self.watch, rollout=list(shares))
        assert self.watch.session is not None
        self.session_id = self.watch.session.session_id
        self.draws, self.chance = Draws("a process"), random.Random(1)
        self.at = NOW

    @property
    def rollout(self) -> Rollout:
        """The rollout as it is now."""
        return self.store.rollouts.recent("my_tool")[0]

    @property
    def states(self) -> tuple[str, str, int | None]:
        """State of the rollout, status of the session, and the live version."""
        live = self.store.versions.live("my_tool")
        status = self.monitor.get_session(self.session_id).status
        return str(self.rollout.ramp.state), status, live and live.version_number

    def calls(
        self,
        count: int,
        *,
        new: float,
        old: float,
        over: timedelta = MINUTE * 30,
        error_type: str = "ValueError",
        **fields: Any,
    ) -> None:
        """Let so many calls happen, which fail with these probabilities on the new and the old version."""
        self.draws.use_split("my_tool", self.rollout.split)
        rows = []
        for number in range(count):
            drawn = self.draws.drawn("my_tool", None)
            assert drawn is not None
            failed = self.chance.random() < (new if drawn.arm is Arm.NEW else old)
            rows.append(
                {
                    **{"tool_name": "my_tool", "success": not failed, "duration_ms": 5.0},
                    **{"error_type": error_type if failed else None, "executed_at": self.at + over * number / count},
                    **{"version_number": drawn.version, "rollout_id": drawn.rollout_id},
                    **{"stage": drawn.stage, "arm": str(drawn.arm), **fields},
                }
            )
        self.store.store_tool_executions(rows)
        self.at += over

    def check(self, after: timedelta = MINUTE) -> dict[str, Any]:
        """Check, and act."""
        self.at += after
        return self.monitor.auto_rollback_if_needed("my_tool", self.session_id, now=self.at)

    def served(self, calls: int = 20) -> set[int]:
        """What calls of the tool return now: 1 of version 1, 2 of version 2."""
        return {self.registry.call("my_tool") for _ in range(calls)}
