"""The stage that lets a proposal pass the gate, or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rollguard.loop.improvement.work import AttemptStage
from rollguard.model.attempt import REFUSE, REHEARSE, RETRY, Attempt, State, Why
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.given import checked_now
from rollguard.rehearse import Verdict


class RehearseStage(AttemptStage):
    """Rehearses a proposal. A refused one goes back to its improver with the reasons, as long as there are tries."""

    name = "rehearse"
    takes = (State.PROPOSED,)
    follows = frozenset({"improve"})

    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Rehearse the proposal of one attempt."""
        known = self._known(attempt)
        if known is not None:
            return self._refused(attempt, [known], now)
        proposal = attempt.proposal or {}
        done = self.parts.rehearser.rehearse(
            attempt.tool_name,
            attempt.candidate or b"",
            draw=int(proposal.get("draw", 0)),
            seen=proposal.get("seen", ()),
            now=now,
        )
        if done.verdict is Verdict.REFUSED:
            return self._refused(attempt, done.for_author(), now, details={"rehearsal": done.to_dict()["reasons"]})
        moment = checked_now(now)
        rehearsal = json.loads(json.dumps(done.to_dict()))
        values = {
            "strategy": done.strategy and done.strategy.value,
            "verdict": done.verdict.value,
            "evidence": {**attempt.evidence, "rehearsal": rehearsal},
            "expires_at": moment + timedelta(hours=self.rules.approval.hours),
        }
        reason = "; ".join(entry["text"] for entry in rehearsal["reasons"]) or "it passes the gate"
        step = self.step(REHEARSE, reason, values=values, notify=_waiting(attempt, reason, moment))
        self.move(attempt, step, now)
        return {}

    def _known(self, attempt: Attempt) -> str | None:
        """Return why the same bytes are not rehearsed again."""
        sha256 = attempt.candidate_sha256
        if sha256 == attempt.base_sha256:
            return "it is the live source, unchanged"
        if any(held.sha256 == sha256 for held in self.store.quarantine.in_force(attempt.tool_name)):
            return "this source was deployed before and rolled back"
        if any(entry.get("sha256") == sha256 for entry in attempt.reasons):
            return "this source was refused before"
        return None

    def _refused(
        self, attempt: Attempt, reasons: list[str], now: datetime | None, details: Mapping[str, Any] | None = None
    ) -> dict[str, int]:
        entry = {"author": attempt.author, "sha256": attempt.candidate_sha256, "reasons": reasons}
        values: dict[str, Any] = {"reasons": [*map(dict, attempt.reasons), entry]}
        said = "; ".join(reasons)
        if attempt.tries < int(attempt.budget.get("tries", self.rules.max_tries)):
            self.move(attempt, self.step(RETRY, said, values=values, details=details), now)
            return {}
        values |= self.cooling(attempt, now)
        self.move(attempt, self.step(REFUSE, said, why=Why.GATE, values=values, details=details), now)
        return {"improvements_failed": 1}


def _waiting(attempt: Attempt, reason: str, now: datetime) -> dict[str, Any]:
    """Return the event that a proposal can be decided about."""
    title = f"{attempt.tool_name}: a repair is proposed, decide with: rollguard proposals show {attempt.attempt_id}"
    details = {"attempt_id": attempt.attempt_id, "author": attempt.author, "cause": attempt.cause}
    moment = now.astimezone(UTC).isoformat()
    return Event(
        EventKind.PROPOSAL_WAITING, Level.INFO, attempt.tool_name, None, title, (reason,), moment, details
    ).to_dict()
