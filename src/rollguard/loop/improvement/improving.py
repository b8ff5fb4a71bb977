"""The stage that asks for a repair."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rollguard.improve import Answer, Improvers
from rollguard.improve import Attempt as Earlier
from rollguard.loop.improvement.memory import draw_of
from rollguard.loop.improvement.work import AttemptStage, Improvement
from rollguard.model.attempt import FAIL, PROPOSE, Attempt, State, Why
from rollguard.model.given import checked_now

_EARLIER = 5  # attempts for the same cause whose proposals an author gets to know


class ImproveStage(AttemptStage):
    """Asks the improver. It may take an hour: nothing else waits for it."""

    name = "improve"
    takes = (State.INVESTIGATED,)
    follows = frozenset({"investigate"})

    def __init__(self, parts: Improvement) -> None:
        super().__init__(parts)
        given = parts.improver
        self._improvers = given if isinstance(given, Improvers) else Improvers([given], redaction=parts.store.redaction)

    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Ask for a repair of one tool."""
        if self.store.attempts.spent_tokens(checked_now(now)) >= self.rules.max_tokens_per_day:
            return self.leave(attempt)
        if attempt.tokens >= int(attempt.budget.get("tokens", self.rules.max_tokens_per_attempt)):
            return self._fail(attempt, Why.BUDGET, f"{attempt.tokens:,} tokens were spent", now)
        earlier = self.store.attempts.of_cause(attempt.tool_name, attempt.cause_key or "")
        draw = draw_of(attempt.tries + sum(one.tries for one in earlier))
        brief = self.parts.briefer.brief(
            attempt.tool_name, attempts=_told(attempt, earlier[:_EARLIER]), draw=draw, now=now
        )
        asked = self._improvers.ask(brief)
        spent = {
            "tokens": attempt.tokens + asked.tokens,
            "cost": attempt.cost + asked.cost,
            "seconds": attempt.seconds + sum(answer.seconds for answer in asked.answers),
        }
        details = {"answers": [answer.to_dict() for answer in asked.answers]}
        proposal = asked.proposal
        if proposal is None:
            said = [f"{one.improver} {one.outcome.value}{_because(one)}" for one in asked.answers]
            reason = "; ".join(said) or "the settings name no improver"
            return self._fail(attempt, Why.NO_PROPOSAL, reason, now, spent, details)
        kept = {name: value for name, value in proposal.to_dict().items() if name != "source"}
        values = {
            **spent,
            "candidate": proposal.source,
            "candidate_sha256": proposal.sha256,
            "proposal": {**kept, "draw": draw, "seen": list(brief.seen), "brief_sha256": brief.sha256},
            "tries": attempt.tries + 1,
        }
        self.move(attempt, self.step(PROPOSE, proposal.reason, values=values, details=details), now)
        return {"improvements_attempted": 1} if attempt.tries == 0 else {}

    def _fail(
        self,
        attempt: Attempt,
        why: Why,
        reason: str,
        now: datetime | None,
        spent: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> dict[str, int]:
        values = {**(spent or {}), **self.cooling(attempt, now)}
        self.move(attempt, self.step(FAIL, reason, why=why, values=values, details=details), now)
        return {"improvements_failed": 1} if attempt.tries else {}


def _because(answer: Answer) -> str:
    return f": {'; '.join(answer.problems)}" if answer.problems else ""


def _told(attempt: Attempt, earlier: list[Attempt]) -> list[Earlier]:
    """Return the proposals that did not stay, the earliest first."""
    return [_as_told(entry) for one in (*reversed(earlier), attempt) for entry in one.reasons]


def _as_told(entry: Mapping[str, Any]) -> Earlier:
    return Earlier(author=str(entry.get("author")), reasons=tuple(entry.get("reasons", ())), sha256=entry.get("sha256"))
