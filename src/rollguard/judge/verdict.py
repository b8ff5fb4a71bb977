"""From two windows to a verdict with reasons that carry the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from rollguard.judge import words
from rollguard.judge.comparison import CRITICAL_DROP, Comparison, compare
from rollguard.judge.evidence import Evidence
from rollguard.judge.external import Surroundings
from rollguard.judge.rules import Rules
from rollguard.judge.slowdown import Slowdown, slowdown
from rollguard.judge.triggers import MOST_OUTCOMES, Outcome, Trigger, trigger_in
from rollguard.judge.windows import Window

# Written into every decision record; changes whenever the same counts could judge differently, in whatever word.
# 3: a drop with evidence is no longer said to be without; all of five minutes failed only where all of them are known;
#    the bounds are the same to 1e-9, and not to the last bit.
RULE_VERSION = 3
REPLAYED_VERSIONS = (2, RULE_VERSION)  # what can be judged again as it was then

FEWEST_FOR_CRITICAL = 5  # calls since the deployment, where the drop is 30 points or more


class Verdict(StrEnum):
    """What a check found. No data is never `healthy`; a failing database is never `regressed`."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INSUFFICIENT_DATA = "insufficient_data"
    EXTERNAL = "external"
    ERROR = "error"


class RollbackType(StrEnum):
    """What called for a rollback."""

    THRESHOLD = "threshold"
    EVIDENCE = "evidence"
    FAST = "fast"
    SLOWDOWN = "slowdown"
    MANUAL = "manual"


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
    def wants_surroundings(self) -> bool:
        """Whether it would act and nobody has looked yet at what else happened."""
        return self.needs_rollback and self.surroundings is None

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
    outcomes: Sequence[Outcome] = (),
    surroundings: Surroundings | None = None,
    rule_version: int = RULE_VERSION,
) -> Judgement:
    """Judge a deployment.

    Args:
        baseline: what was counted before the deployment.
        current: what was counted since.
        rules: what to judge by.
        scheduled: False for a look between the schedule's, at which the threshold rule does not act: more looks would
            make its false alarms more frequent.
        outcomes: the latest executions of the deployed version, the oldest first, to look for triggers in.
        surroundings: what else happened, where the judgement without it would act.
        rule_version: judge as that version did, one of `REPLAYED_VERSIONS`.
    """
    found = _look(baseline, current, rules)
    comparison, evidence = found.comparison, found.evidence
    cut = len(outcomes) >= MOST_OUTCOMES and rule_version >= 3
    trigger = trigger_in(outcomes, cut=cut) if outcomes and rules.fast_triggers != "off" else None
    acting = _acting(found, rules, scheduled, trigger)
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
    needs_rollback = acting is not None
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
        rollback_type=acting,
        verdict=verdict,
        reasons=tuple(reasons),
        warning=warning,
        alert=alert,
        needs_rollback=needs_rollback,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What two windows say, before anything is decided. The slowdown is looked at where the mean ratio asks for it."""

    comparison: Comparison
    evidence: EvidenceFound
    slowdown: Slowdown | None


def _look(baseline: Window, current: Window, rules: Rules) -> _Found:
    comparison = compare(baseline, current, rules)
    test = Evidence(baseline.total, baseline.failures, rules.success_alpha, rules.delta)
    log_e = test.log_e(current.total, current.failures)
    evidence = EvidenceFound(rules.success_alpha, rules.delta, log_e, test.required, log_e >= test.required)
    slow = slowdown(baseline, current, rules.slowdown_alpha) if comparison.performance_degradation else None
    return _Found(comparison, evidence, slow)


def _acting(found: _Found, rules: Rules, scheduled: bool, trigger: Trigger | None) -> RollbackType | None:
    """What calls for a rollback: step 7 of the rule of `rollguard.judge.evidence`.

    Every way but the threshold's needs evidence, so one alpha covers them all; `fast_triggers = "alone"` is the
    exception that people choose with open eyes.
    """
    comparison, present = found.comparison, found.evidence.present
    if rules.decision == "threshold" and comparison.regression_detected and scheduled:
        return RollbackType.THRESHOLD
    if rules.decision == "evidence" and present and (comparison.regression_detected or _critical(comparison, rules)):
        return RollbackType.EVIDENCE
    enough_before = comparison.baseline.total >= rules.min_executions
    if trigger is not None and (rules.fast_triggers == "alone" or (present and enough_before)):
        return RollbackType.FAST
    slow = found.slowdown is not None and found.slowdown.present
    return RollbackType.SLOWDOWN if rules.rollback_on_slowdown and slow else None


def _critical(comparison: Comparison, rules: Rules) -> bool:
    """A drop so large that fewer calls are enough."""
    drop = comparison.success_rate_drop or Fraction(0)
    enough = comparison.baseline.total >= rules.min_executions
    fewest = min(FEWEST_FOR_CRITICAL, rules.min_executions)
    return enough and comparison.current.total >= fewest and drop >= max(CRITICAL_DROP, rules.threshold)


def _explained(surroundings: Surroundings | None, rules: Rules, scheduled: bool) -> tuple[list[str], bool]:
    """What the witnesses say, and whether without what they explain there would be nothing to act upon."""
    if surroundings is None:
        return [], False
    told = [witness.sentence for witness in surroundings.witnesses if witness.testifies]
    if not told:
        return [], False
    rest = _look(surroundings.baseline, surroundings.rest, rules)
    if _acting(rest, rules, scheduled, None) is None:
        return told, True
    return [*told, f"which does not explain the rest: {words.compared(rest.comparison, rules)}"], False
