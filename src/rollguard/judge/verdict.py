"""From two windows to a verdict with reasons that carry the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rollguard.judge import reasons as words
from rollguard.judge.comparison import Comparison, compare
from rollguard.judge.confounders import Surroundings
from rollguard.judge.evidence import Evidence
from rollguard.judge.policy import Counts, RollbackType, acting
from rollguard.judge.rules import Rules
from rollguard.judge.slowdown import Slowdown, slowdown
from rollguard.judge.triggers import IN_A_ROW, MOST_OUTCOMES, Outcome, Trigger, trigger_in
from rollguard.judge.windows import Window

# Written into every decision record; changes whenever the same counts could judge differently, in whatever word.
# 3: a drop with evidence is no longer said to be without; all of five minutes failed only where all of them are known;
#    the bounds are the same to 1e-9, and not to the last bit.
RULE_VERSION = 3
REPLAYED_VERSIONS = (2, RULE_VERSION)  # what can be judged again as it was then


class Verdict(StrEnum):
    """What a check found. No data is never `healthy`; a failing database is never `regressed`."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INSUFFICIENT_DATA = "insufficient_data"
    EXTERNAL = "external"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """What the evidence rule says of the current counts. `log_e` and `required` are natural logs."""

    alpha: float
    delta: float
    log_e: float
    required: float
    present: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """One decision. It follows from its `record` alone, so it can be made again from that.

    Attributes:
        scheduled: whether the look was one of the schedule's; only then the threshold rule acts.
        outcomes: the latest executions of the deployed version, where triggers were looked for.
        surroundings: what else happened, where it was looked at.
        rollback_type: what calls for a rollback; None where nothing does.
        warning: what should be known beside the verdict.
        alert: what people should be told although nothing is done.
        needs_rollback: whether to act.
    """

    rules: Rules
    rule_version: int
    scheduled: bool
    comparison: Comparison
    evidence: EvidenceFound
    slowdown: Slowdown | None
    outcomes: tuple[Outcome, ...]
    trigger: Trigger | None
    surroundings: Surroundings | None
    rollback_type: RollbackType | None
    verdict: Verdict
    reasons: tuple[str, ...]
    warning: str | None
    alert: str | None
    needs_rollback: bool

    @property
    def headline(self) -> str:
        """Why a rollback is called for, in one line; without one, what was counted."""
        counted, evidence = self.reasons[0], self.reasons[1]
        if self.rollback_type is RollbackType.FAST and self.trigger is not None:
            return f"{self.trigger.name}: {self.trigger.reason}; {counted}; {evidence}"
        if self.rollback_type is RollbackType.SLOWDOWN:
            return words.slower(self.comparison, self.slowdown)
        return f"{counted}; {evidence}" if self.rollback_type is RollbackType.EVIDENCE else counted

    def record(self) -> dict[str, Any]:
        """The decision record: all that is needed to make the same decision again, see `rollguard.judge.replay`.

        Histograms are in it where a slowdown was looked at; nothing else is decided from them.
        """
        record: dict[str, Any] = {
            "rule_version": self.rule_version,
            "rules": self.rules.to_dict(),
            "scheduled": self.scheduled,
            "baseline": self.comparison.baseline.to_dict(histogram=self.slowdown is not None),
            "current": self.comparison.current.to_dict(histogram=self.slowdown is not None),
            "verdict": str(self.verdict),
            "rollback_type": None if self.rollback_type is None else str(self.rollback_type),
            "needs_rollback": self.needs_rollback,
            "log_e": self.evidence.log_e,
            "reasons": list(self.reasons),
        }
        if self.outcomes:
            record["outcomes"] = [outcome.to_list() for outcome in self.outcomes]
        if self.surroundings is not None:
            record["surroundings"] = self.surroundings.to_dict()
        return record


def judge(
    baseline: Window,
    current: Window,
    rules: Rules,
    *,
    scheduled: bool = True,
    outcomes: Callable[[], Sequence[Outcome] | None] | None = None,
    surroundings: Callable[[], Surroundings] | None = None,
) -> Judgement:
    """Judge a deployment. Everything that decides calls this, or reads the list that it decides by.

    Args:
        baseline: what was counted before the deployment.
        current: what was counted since.
        rules: what to judge by.
        scheduled: False for a check between the schedule's, at which the threshold rule does not act: more checks
            would make its false alarms more frequent.
        outcomes: gives the latest executions of the deployed version, the oldest first, to look for triggers in, or
            None where they are not kept any more; asked only where a trigger could act.
        surroundings: tells what else happened; asked only where the judgement without it would act.
    """
    found = _look(baseline, current, rules)
    asked = outcomes is not None and _may_trigger(found, rules)
    latest = (outcomes() if asked and outcomes is not None else None) or ()
    judgement = _decided(found, rules, scheduled=scheduled, outcomes=latest)
    if judgement.needs_rollback and surroundings is not None:
        judgement = _decided(found, rules, scheduled=scheduled, outcomes=latest, surroundings=surroundings())
    return judgement


def judge_recorded(
    baseline: Window,
    current: Window,
    rules: Rules,
    *,
    scheduled: bool,
    outcomes: Sequence[Outcome],
    surroundings: Surroundings | None,
    rule_version: int,
) -> Judgement:
    """`judge` with what was asked then, as that version of the rule did, one of `REPLAYED_VERSIONS`."""
    found = _look(baseline, current, rules)
    return _decided(
        found, rules, scheduled=scheduled, outcomes=outcomes, surroundings=surroundings, rule_version=rule_version
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What two windows say, before anything is decided. The slowdown is looked at where the mean ratio asks for it."""

    comparison: Comparison
    evidence: EvidenceFound
    slowdown: Slowdown | None

    def acting(self, rules: Rules, *, scheduled: bool, trigger: bool) -> RollbackType | None:
        """What calls for a rollback."""
        baseline, current = self.comparison.baseline, self.comparison.current
        return acting(
            rules,
            Counts(baseline.total, baseline.failures, current.total, current.failures),
            scheduled=scheduled,
            evidence=lambda: self.evidence.present,
            trigger=trigger,
            slowdown=self.slowdown is not None and self.slowdown.present,
        )


def _look(baseline: Window, current: Window, rules: Rules) -> _Found:
    comparison = compare(baseline, current, rules)
    test = Evidence(baseline.total, baseline.failures, rules.success_alpha, rules.delta)
    log_e = test.log_e(current.total, current.failures)
    evidence = EvidenceFound(rules.success_alpha, rules.delta, log_e, test.required, log_e >= test.required)
    slow = slowdown(baseline, current, rules.slowdown_alpha) if comparison.performance_degradation else None
    return _Found(comparison, evidence, slow)


def _may_trigger(found: _Found, rules: Rules) -> bool:
    if found.comparison.current.failures < IN_A_ROW:
        return False
    return rules.fast_triggers == "alone" or (rules.fast_triggers == "with_evidence" and found.evidence.present)


def _decided(
    found: _Found,
    rules: Rules,
    *,
    scheduled: bool,
    outcomes: Sequence[Outcome],
    surroundings: Surroundings | None = None,
    rule_version: int = RULE_VERSION,
) -> Judgement:
    comparison, evidence = found.comparison, found.evidence
    cut = len(outcomes) >= MOST_OUTCOMES and rule_version >= 3
    trigger = trigger_in(outcomes, cut=cut) if outcomes and rules.fast_triggers != "off" else None
    kind = found.acting(rules, scheduled=scheduled, trigger=trigger is not None)
    reasons = [words.compared(comparison, rules), words.evidence(evidence.log_e, evidence.required)]
    warning = alert = None
    if trigger is not None:
        reasons.append(f"{trigger.name}: {trigger.reason}")
    if not comparison.has_sufficient_data:
        verdict = Verdict.INSUFFICIENT_DATA
        warning = words.missing(comparison, rules)
        reasons.append(warning)
    elif not comparison.regression_detected:
        verdict = Verdict.HEALTHY
        if evidence.present:
            warning = "there is evidence that more calls fail than before, by less than the threshold"
    elif rules.decision == "evidence" and (not evidence.present or rule_version < 3):
        verdict = Verdict.INSUFFICIENT_DATA
        warning = alert = "the drop reaches the threshold, but it may be chance: there is no evidence yet"
        reasons.append(alert)
    else:
        verdict = Verdict.REGRESSED
    if comparison.performance_degradation:
        slow = words.slower(comparison, found.slowdown)
        reasons.append(slow)
        warning = slow if warning is None else f"{warning}; {slow}"
    needs_rollback = kind is not None
    if needs_rollback:
        verdict, alert = Verdict.REGRESSED, None
        told, explained = _explained(surroundings, rules, scheduled)
        reasons += told
        if explained and rules.holds_on_external:
            verdict, needs_rollback, alert = Verdict.EXTERNAL, False, "; ".join(told)
        elif told:
            warning = "; ".join(told) if warning is None else f"{warning}; {'; '.join(told)}"
    return Judgement(
        rules=rules,
        rule_version=rule_version,
        scheduled=scheduled,
        comparison=comparison,
        evidence=evidence,
        slowdown=found.slowdown,
        outcomes=tuple(outcomes),
        trigger=trigger,
        surroundings=surroundings,
        rollback_type=kind,
        verdict=verdict,
        reasons=tuple(reasons),
        warning=warning,
        alert=alert,
        needs_rollback=needs_rollback,
    )


def _explained(surroundings: Surroundings | None, rules: Rules, scheduled: bool) -> tuple[list[str], bool]:
    """What the witnesses say, and whether without what they explain there would be nothing to act upon."""
    if surroundings is None:
        return [], False
    told = [witness.sentence for witness in surroundings.witnesses if witness.testifies]
    if not told:
        return [], False
    rest = _look(surroundings.baseline, surroundings.rest, rules)
    if rest.acting(rules, scheduled=scheduled, trigger=False) is None:
        return told, True
    return [*told, f"which does not explain the rest: {words.compared(rest.comparison, rules)}"], False
