"""The stage that asks for a repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rollguard.errors import ImproverFailed
from rollguard.improve import Attempt as Earlier
from rollguard.improve import Proposal
from rollguard.loop.improvement.memory import draw_of
from rollguard.loop.improvement.work import AttemptStage
from rollguard.model.attempt import FAIL, PROPOSE, Attempt, State, Why
from rollguard.model.given import checked_now

_EARLIER = 5  # attempts for the same cause whose proposals an author is told of


class ImproveStage(AttemptStage):
    """Asks the improver. It may take an hour: nothing else waits for it."""

    name = "improve"
    takes = (State.INVESTIGATED,)
    follows = frozenset({"investigate"})

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
        try:
            proposal = self.parts.improver.propose(brief)
        except ImproverFailed as error:
            return self._fail(attempt, Why.ERROR, str(error), now)
        if proposal is None:
            return self._fail(attempt, Why.NO_PROPOSAL, "no improver has a repair to propose", now)
        said = {**_without_source(proposal), "draw": draw, "brief_sha256": brief.sha256}
        values = {
            "candidate": proposal.source,
            "candidate_sha256": proposal.sha256,
            "proposal": said,
            "tries": attempt.tries + 1,
            "tokens": attempt.tokens + (proposal.tokens or 0),
            "cost": attempt.cost + (proposal.cost or 0.0),
            "seconds": attempt.seconds + proposal.seconds,
        }
        details = {name: said[name] for name in ("author", "model", "prompt_sha256", "tokens", "cost", "sha256")}
        self.move(attempt, self.step(PROPOSE, proposal.reason, values=values, details=details), now)
        return {"improvements_attempted": 1} if attempt.tries == 0 else {}

    def _fail(self, attempt: Attempt, why: Why, reason: str, now: datetime | None) -> dict[str, int]:
        self.move(attempt, self.step(FAIL, reason, why=why, values=self.cooling(attempt, now)), now)
        return {"improvements_failed": 1} if attempt.tries else {}


def _told(attempt: Attempt, earlier: list[Attempt]) -> list[Earlier]:
    """Return the proposals that did not stay, the earliest first."""
    return [_as_told(entry) for one in (*reversed(earlier), attempt) for entry in one.reasons]


def _as_told(entry: Mapping[str, Any]) -> Earlier:
    return Earlier(author=str(entry.get("author")), reasons=tuple(entry.get("reasons", ())), sha256=entry.get("sha256"))


def _without_source(proposal: Proposal) -> dict[str, Any]:
    return dict(_kept(proposal.to_dict()))


def _kept(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in said.items() if name != "source")
