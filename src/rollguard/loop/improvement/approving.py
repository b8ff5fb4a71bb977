"""The stage that approves what the settings let through, and refuses what nobody approved in time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rollguard.errors import AttemptClosed
from rollguard.loop.improvement.approvals import Approvals
from rollguard.loop.improvement.work import AttemptStage, Improvement
from rollguard.model.attempt import REFUSE, Attempt, State, Why
from rollguard.model.given import checked_now


class ApproveStage(AttemptStage):
    """Approves by policy, which is off by default, and otherwise leaves a proposal to people."""

    name = "approve"
    takes = (State.WAITING,)
    follows = frozenset({"rehearse"})

    def __init__(self, parts: Improvement) -> None:
        super().__init__(parts)
        self._approvals = Approvals(parts.store, parts.rules)

    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Decide about one proposal, if that can be decided without a person."""
        moment = checked_now(now)
        if attempt.expired(moment):
            reason = f"nobody approved it until {attempt.expires_at:%Y-%m-%d %H:%M} UTC"
            self.move(attempt, self.step(REFUSE, reason, why=Why.EXPIRED, values=self.cooling(attempt, now)), now)
            return {"improvements_failed": 1}
        if not self._approvals.lets_through(attempt):
            return self.leave(attempt)
        try:
            self._approvals.approve_by_policy(attempt, worker=self.worker, now=moment)
        except AttemptClosed:
            self.leave(attempt)  # a person may approve it; the policy may again tomorrow
            raise
        return {}
