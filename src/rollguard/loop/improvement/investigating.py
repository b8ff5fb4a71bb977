"""The stage that finds out why the tool fails, and remembers what was tried for that cause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from rollguard.investigate import Report, in_words
from rollguard.loop.improvement.memory import LONGEST, Memory, cause_key
from rollguard.loop.improvement.work import AttemptStage
from rollguard.model.attempt import DROP, INVESTIGATE, Attempt, State, Why
from rollguard.model.given import checked_now


class InvestigateStage(AttemptStage):
    """Investigates. An outside cause, and one that was tried too often, end the attempt."""

    name = "investigate"
    takes = (State.FOUND,)
    follows = frozenset({"find"})

    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Investigate the tool of one attempt."""
        moment = checked_now(now)
        report = self.parts.investigator.investigate(attempt.tool_name, now=now)
        ended = self._not_to_improve(attempt, report, moment)
        if ended is not None:
            why, reason, until = ended
            values = {"cause_key": cause_key(report), "cause": _said(report), "not_before": until}
            self.move(attempt, self.step(DROP, reason, why=why, values=values), now)
            return {"tools_analyzed": 1}
        key = cause_key(report)
        evidence = {"investigation": json.loads(json.dumps(report.to_dict()))}
        values = {"cause_key": key, "cause": _said(report), "evidence": evidence}
        self.move(attempt, self.step(INVESTIGATE, _said(report), values=values), now)
        return {"tools_analyzed": 1}

    def _not_to_improve(self, attempt: Attempt, report: Report, now: datetime) -> tuple[Why, str, datetime] | None:
        pause = timedelta(hours=self.rules.back_off_hours)
        if not report.failures:
            return Why.NOTHING_FAILS, "no recorded call fails", now + pause
        if report.causes[0].kind == "outside":
            return Why.OUTSIDE_CAUSE, "the cause is outside of the tool: others fail at the same time", now + pause
        known = self.store.attempts.of_cause(attempt.tool_name, cause_key(report))
        left_alone = Memory(known, pause, self.rules.max_attempts_per_cause).left_alone(now)
        if left_alone is None:
            return None
        why, until = left_alone
        said = (
            "too many attempts for this cause failed" if why is Why.CAP else "an attempt for this cause failed lately"
        )
        return why, f"{said}; it is left alone until {until:%Y-%m-%d %H:%M} UTC", min(until, now + LONGEST)


def _said(report: Report) -> str:
    return in_words(report.causes[0])
