"""Judge two windows: a verdict, with reasons that carry the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rollguard.judge import reasons
from rollguard.judge.arms import Arms, ArmsFound
from rollguard.judge.baseline import LeftOut
from rollguard.judge.comparison import Comparison, compare
from rollguard.judge.confirmation import Confirmation, Stand, is_to_confirm
from rollguard.judge.confounders import Confounders
from rollguard.judge.creeping import Creeping, EarlierVersions, creeping
from rollguard.judge.evidence import Evidence
from rollguard.judge.hangs import Hangs
from rollguard.judge.policy import Counts, RollbackType, acting
from rollguard.judge.rules import Rules
from rollguard.judge.score import Scores, scores
from rollguard.judge.slowdown import Slowdown, slowdown
from rollguard.judge.triggers import IN_A_ROW, MOST_OUTCOMES, Outcome, Trigger, trigger_in
from rollguard.judge.windows import Window

# Stored in every decision record. Raise it if the same counts could give another decision or another sentence.
# 3: no warning about missing evidence if there is evidence; `complete_failure` only if all calls of the five minutes
#    are known; bounds equal to 1e-9, not to the last bit.
# 4: two versions that serve at once; scores of answers.
RULE_VERSION = 4
REPLAYED_VERSIONS = (2, 3, RULE_VERSION)  # versions that `replay` can reproduce


class Verdict(StrEnum):
    """The result of a check. No data is never `healthy`; a failing database is never `regressed`."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INSUFFICIENT_DATA = "insufficient_data"
    EXTERNAL = "external"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """The result of the evidence rule on the current counts. `log_e` and `required` are natural logs."""

    alpha: float
    delta: float
    log_e: float
    required: float
    present: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """One decision. `rollguard.judge.replay` reproduces it from its `record` alone.

    Attributes:
        scheduled: whether the schedule made the check; the threshold rule acts only at these checks.
        scores: the result of the test of the answers' scores, if both windows have some.
        outcomes: the latest executions of the deployed version, if they were searched for triggers.
        confounders: what else failed at the same time, if that was needed to decide.
        left_out: what the baseline does not count.
        creeping: an earlier version than which this one is worse, though not worse than the baseline.
        hangs: the calls that hung, if there were any; the windows contain them as failures if they count.
        arms: the counts of both versions and the evidence from them, if both serve or did in this session.
        confirmation: where the confirmation of what the evidence rule found stands, if that would act.
        rollback_type: what calls for a rollback; None if nothing does.
        warning: what you should know in addition to the verdict.
        alert: what people are notified of although Rollguard does nothing.
        needs_rollback: whether to roll back.
    """

    rules: Rules
    rule_version: int
    scheduled: bool
    comparison: Comparison
    evidence: EvidenceFound
    slowdown: Slowdown | None
    scores: Scores | None
    outcomes: tuple[Outcome, ...]
    trigger: Trigger | None
    confounders: Confounders | None
    left_out: LeftOut | None
    creeping: Creeping | None
    hangs: Hangs | None
    arms: ArmsFound | None
    confirmation: Confirmation | None
    rollback_type: RollbackType | None
    verdict: Verdict
    reasons: tuple[str, ...]
    warning: str | None
    alert: str | None
    needs_rollback: bool

    @property
    def headline(self) -> str:
        """Return the reason for the rollback in one line; the counts if there is no rollback."""
        counted, evidence = self.reasons[0], self.reasons[1]
        if self.rollback_type is RollbackType.FAST and self.trigger is not None:
            return f"{self.trigger.name}: {self.trigger.reason}; {counted}; {evidence}"
        if self.rollback_type is RollbackType.SLOWDOWN:
            return reasons.slower(self.comparison, self.slowdown)
        if self.rollback_type is RollbackType.SCORE and self.scores is not None:
            return reasons.answers(self.scores, self.rules)
        if self.rollback_type is RollbackType.CONCURRENT and self.arms is not None:
            return reasons.beside(self.arms)
        return f"{counted}; {evidence}" if self.rollback_type is RollbackType.EVIDENCE else counted

    @property
    def wants_confirmation(self) -> bool:
        """Return whether both versions are to serve from now on, to confirm what the evidence rule found."""
        return self.confirmation is not None and self.confirmation.stand is Stand.POSSIBLE

    def record(self) -> dict[str, Any]:
        """Return the decision record: a JSON-safe mapping from which `rollguard.judge.replay` reproduces the decision.

        It contains histograms only if they were tested for a slowdown; nothing else is decided from them.
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
        if self.left_out is not None and self.left_out.calls:
            record["left_out"] = self.left_out.to_dict()
        if self.outcomes:
            record["outcomes"] = [outcome.to_list() for outcome in self.outcomes]
        found = {
            "creeping": self.creeping,
            "surroundings": self.confounders,  # the key of stored records
            "hangs": self.hangs,
            "concurrent": None if self.arms is None else self.arms.arms,
            "confirmation": self.confirmation,
        }
        return record | {name: one.to_dict() for name, one in found.items() if one is not None}


def judge(
    baseline: Window,
    current: Window,
    rules: Rules,
    *,
    scheduled: bool = True,
    left_out: LeftOut | None = None,
    earlier: EarlierVersions | None = None,
    outcomes: Callable[[], Sequence[Outcome] | None] | None = None,
    confounders: Callable[[], Confounders] | None = None,
    hangs: Hangs | None = None,
    arms: Arms | None = None,
    confirmation: Callable[[], Confirmation] | None = None,
) -> Judgement:
    """Judge a deployment. Whatever decides calls this function, or reads the same list of ways to act.

    Args:
        baseline: the executions before the deployment.
        current: the executions since the deployment.
        rules: the rules to judge by.
        scheduled: False for a check outside the schedule. The threshold rule does not act then, because more checks
            would raise its false alarms.
        left_out: what the baseline does not count; a reason says it.
        earlier: the counts of earlier good versions, to find whether the versions are creeping.
        outcomes: returns the latest executions of the deployed version, the oldest first, or None if they are no
            longer stored. Called only if a trigger could act.
        confounders: returns what else failed at the same time. Called only if the judgement without it would act.
        hangs: the calls that hung; `Hangs.add_to` added them to the windows.
        arms: the counts of both versions, if both serve or did in this session. While they serve, only these decide.
        confirmation: returns where the confirmation stands. Called only if the evidence rule would act and the rules
            confirm what it finds.
    """
    findings = _measure(baseline, current, rules, left_out, earlier, arms)
    latest: Sequence[Outcome] = ()
    if outcomes is not None and _may_trigger(findings, rules):
        latest = outcomes() or ()
    judgement = _decide(findings, rules, scheduled=scheduled, outcomes=latest, hangs=hangs)
    # What else failed is no excuse beside the old version, which it would have struck too.
    if judgement.needs_rollback and confounders is not None and not findings.beside:
        around = confounders()
        judgement = _decide(findings, rules, scheduled=scheduled, outcomes=latest, confounders=around, hangs=hangs)
    kind, present = judgement.rollback_type, findings.evidence.present
    if judgement.needs_rollback and confirmation is not None and is_to_confirm(rules, kind, evidence=present):
        return _confirmed(judgement, confirmation())
    return judgement


def judge_recorded(
    baseline: Window,
    current: Window,
    rules: Rules,
    *,
    scheduled: bool,
    outcomes: Sequence[Outcome],
    confounders: Confounders | None,
    left_out: LeftOut | None,
    earlier: EarlierVersions | None,
    hangs: Hangs | None,
    arms: Arms | None,
    confirmation: Confirmation | None,
    rule_version: int,
) -> Judgement:
    """Judge recorded inputs by an earlier version of the rule, one of `REPLAYED_VERSIONS`."""
    findings = _measure(baseline, current, rules, left_out, earlier, arms)
    judgement = _decide(
        findings,
        rules,
        scheduled=scheduled,
        outcomes=outcomes,
        confounders=confounders,
        hangs=hangs,
        rule_version=rule_version,
    )
    if confirmation is None or not judgement.needs_rollback:  # other rules may not act
        return judgement
    return _confirmed(judgement, confirmation)


def _confirmed(judgement: Judgement, confirmation: Confirmation) -> Judgement:
    """Return a judgement that would roll back, as the confirmation leaves it."""
    sentence, external = confirmation.sentence, confirmation.stand is Stand.EXTERNAL
    judgement = replace(judgement, confirmation=confirmation, reasons=(*judgement.reasons, sentence))
    if confirmation.acts:
        return judgement
    verdict = Verdict.EXTERNAL if external else Verdict.INSUFFICIENT_DATA
    return replace(judgement, needs_rollback=False, verdict=verdict, warning=sentence, alert=sentence)


@dataclass(frozen=True, slots=True)
class _Findings:
    """What two windows show, before any decision. `slowdown` is tested only if the mean duration rose enough."""

    comparison: Comparison
    evidence: EvidenceFound
    slowdown: Slowdown | None
    left_out: LeftOut | None = None
    creeping: Creeping | None = None
    arms: ArmsFound | None = None
    scores: Scores | None = None

    @property
    def beside(self) -> bool:
        """Return whether the old version serves beside the new one."""
        return self.arms is not None and self.arms.arms.serving

    @property
    def notes(self) -> list[str]:
        """Return what should be known beside the comparison."""
        notes = [] if self.creeping is None else [self.creeping.sentence]
        return notes + ([reasons.left_out(self.left_out)] if self.left_out is not None and self.left_out.calls else [])

    def sentences(self, rules: Rules, hangs: Hangs | None, trigger: Trigger | None) -> list[str]:
        """Return what was found, as the first reasons of the verdict."""
        found = [
            reasons.compared(self.comparison, rules),
            reasons.evidence(self.evidence.log_e, self.evidence.required),
        ]
        found += [] if self.arms is None else [reasons.beside(self.arms)]
        found += [reasons.hung(hangs)] if hangs is not None and (hangs.baseline or hangs.current) else []
        return found + ([] if trigger is None else [f"{trigger.name}: {trigger.reason}"])

    def acting(self, rules: Rules, *, scheduled: bool, trigger: bool) -> RollbackType | None:
        baseline, current = self.comparison.baseline, self.comparison.current
        return acting(
            rules,
            Counts(baseline.total, baseline.failures, current.total, current.failures),
            scheduled=scheduled,
            evidence=lambda: self.evidence.present,
            trigger=trigger,
            slowdown=self.slowdown is not None and self.slowdown.present,
            score=self.scores is not None and self.scores.dropped and self.scores.present,
            beside=self.arms.present if self.arms is not None and self.beside else None,
        )


def _measure(
    baseline: Window,
    current: Window,
    rules: Rules,
    left_out: LeftOut | None = None,
    earlier: EarlierVersions | None = None,
    arms: Arms | None = None,
) -> _Findings:
    comparison, alpha = (
        compare(baseline, current, rules),
        rules.alpha_of_each(rollout=arms is not None and not arms.confirms),
    )
    test = Evidence(baseline.total, baseline.failures, alpha, rules.delta)
    log_e = test.log_e(current.total, current.failures)
    evidence = EvidenceFound(alpha, rules.delta, log_e, test.required, log_e >= test.required)
    slow = slowdown(baseline, current, alpha) if comparison.performance_degradation else None
    # A regression is more than creeping.
    creeps = None if earlier is None or comparison.regression_detected else creeping(earlier, current, rules)
    found = None if arms is None else ArmsFound.of(arms, alpha)
    return _Findings(comparison, evidence, slow, left_out, creeps, found, scores(baseline, current, rules, alpha))


def _may_trigger(findings: _Findings, rules: Rules) -> bool:
    if findings.comparison.current.failures < IN_A_ROW or findings.beside:
        return False
    return rules.fast_triggers == "alone" or (rules.fast_triggers == "with_evidence" and findings.evidence.present)


def _decide(
    findings: _Findings,
    rules: Rules,
    *,
    scheduled: bool,
    outcomes: Sequence[Outcome],
    confounders: Confounders | None = None,
    hangs: Hangs | None = None,
    rule_version: int = RULE_VERSION,
) -> Judgement:
    comparison, evidence = findings.comparison, findings.evidence
    cut = len(outcomes) >= MOST_OUTCOMES and rule_version >= 3
    trigger = trigger_in(outcomes, cut=cut) if outcomes and rules.fast_triggers != "off" else None
    kind = findings.acting(rules, scheduled=scheduled, trigger=trigger is not None)
    sentences = findings.sentences(rules, hangs, trigger)
    warning = alert = None
    if not comparison.has_sufficient_data:
        verdict = Verdict.INSUFFICIENT_DATA
        warning = reasons.missing(comparison, rules)
        sentences.append(warning)
    elif not comparison.regression_detected:
        verdict = Verdict.HEALTHY
        if evidence.present:
            warning = "there is evidence that more calls fail than before, by less than the threshold"
    elif findings.beside and kind is None:
        verdict = Verdict.INSUFFICIENT_DATA
        warning = "more calls fail than before the deployment; beside the old version there is no evidence yet"
        sentences.append(warning)
    elif rules.decision == "evidence" and (not evidence.present or rule_version < 3):
        verdict = Verdict.INSUFFICIENT_DATA
        warning = alert = "the drop reaches the threshold, but it may be chance: there is no evidence yet"
        sentences.append(alert)
    else:
        verdict = Verdict.REGRESSED
    if comparison.performance_degradation:
        slow = reasons.slower(comparison, findings.slowdown)
        sentences.append(slow)
        warning = slow if warning is None else f"{warning}; {slow}"
    if findings.scores is not None:
        worse = reasons.answers(findings.scores, rules)
        sentences.append(worse)
        if findings.scores.dropped:
            warning = worse if warning is None else f"{warning}; {worse}"
    sentences += findings.notes
    needs_rollback = kind is not None
    if needs_rollback:
        verdict, alert = Verdict.REGRESSED, None
        explanations, explained = _explain(confounders, rules, scheduled, findings.arms)
        sentences += explanations
        if explained and rules.holds_on_external:
            verdict, needs_rollback, alert = Verdict.EXTERNAL, False, "; ".join(explanations)
        elif explanations:
            warning = "; ".join(explanations if warning is None else [warning, *explanations])
    return Judgement(
        rules=rules,
        rule_version=rule_version,
        scheduled=scheduled,
        comparison=comparison,
        evidence=evidence,
        slowdown=findings.slowdown,
        scores=findings.scores,
        outcomes=tuple(outcomes),
        trigger=trigger,
        confounders=confounders,
        left_out=findings.left_out,
        creeping=findings.creeping,
        hangs=hangs,
        arms=findings.arms,
        confirmation=None,
        rollback_type=kind,
        verdict=verdict,
        reasons=tuple(sentences),
        warning=warning,
        alert=alert,
        needs_rollback=needs_rollback,
    )


def _explain(
    confounders: Confounders | None, rules: Rules, scheduled: bool, arms: ArmsFound | None
) -> tuple[list[str], bool]:
    """Return the sentences of the affected confounders, and whether they explain all that calls for a rollback."""
    explanations = [] if confounders is None else [c.sentence for c in confounders.considered if c.is_affected]
    if confounders is None or not explanations:
        return [], False
    rest = _measure(confounders.baseline, confounders.rest, rules, arms=None if arms is None else arms.arms)
    if rest.acting(rules, scheduled=scheduled, trigger=False) is None:
        return explanations, True
    return [*explanations, f"which does not explain the rest: {reasons.compared(rest.comparison, rules)}"], False
