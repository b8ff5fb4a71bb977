"""Decide what calls for a rollback. This is the only place that states the rule.

The rule is a list of ways to act, each with its conditions (`ways`). A decision takes the first way whose conditions
hold (`acting`). The exact risk of the rule follows from the fewest failures at which each way holds (`Way.fewest`).
Both read the same list, so they always agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from rollguard.judge.comparison import CRITICAL_DROP
from rollguard.judge.rules import Rules

FEWEST_FOR_CRITICAL = 5  # calls since the deployment that are enough for a drop of 30 points or more


class RollbackType(StrEnum):
    """What calls for a rollback."""

    THRESHOLD = "threshold"
    EVIDENCE = "evidence"
    FAST = "fast"
    CONCURRENT = "concurrent"
    SCORE = "score"
    SLOWDOWN = "slowdown"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls and failures of the baseline and since the deployment."""

    baseline_calls: int
    baseline_failures: int
    calls: int
    failures: int


@dataclass(frozen=True, slots=True)
class Way:
    """One way to act. All its conditions must hold.

    Attributes:
        kind: the type of the rollback.
        baseline_calls, calls: required calls before and since the deployment.
        drop: required drop of the success rate, in [0, 1]; 0 requires none.
        evidence: whether it requires evidence that more calls fail than before.
        trigger: whether it requires a trigger (`rollguard.judge.triggers`).
        slowdown: whether it requires evidence of a slowdown.
        score: whether it requires evidence that the answers became worse, and the drop of their mean score.
        concurrent: whether it requires evidence against the version beside the old one (`rollguard.judge.concurrent`).
        scheduled: whether it holds only at scheduled checks.
    """

    kind: RollbackType
    baseline_calls: int = 0
    calls: int = 0
    drop: Fraction = Fraction(0)
    evidence: bool = False
    trigger: bool = False
    slowdown: bool = False
    score: bool = False
    concurrent: bool = False
    scheduled: bool = False

    def possible(self, counts: Counts, *, scheduled: bool) -> bool:
        """Return whether the counts allow it: in integers, so exact at every edge, and fast.

        Evidence requires a higher failure rate than the baseline's, because the bounds lie above that rate.
        """
        nb, fb, n, f = counts.baseline_calls, counts.baseline_failures, counts.calls, counts.failures
        if nb < self.baseline_calls or n < self.calls or (self.scheduled and not scheduled):
            return False
        if self.drop and not (nb and n and f >= self._fewest_dropped(nb, fb, n)):
            return False
        return not self.evidence or not nb or f * nb > fb * n

    def fewest(self, baseline_calls: int, baseline_failures: int, calls: int, evident: int) -> int:
        """Return the fewest failures at which it holds; more than `calls` if it cannot hold.

        Args:
            evident: the fewest failures of these calls that are evidence.
        """
        if baseline_calls < self.baseline_calls or calls < self.calls or (self.drop and not baseline_calls):
            return calls + 1
        dropped = self._fewest_dropped(baseline_calls, baseline_failures, calls) if self.drop else 0
        return max(dropped, evident) if self.evidence else dropped

    def _fewest_dropped(self, nb: int, fb: int, n: int) -> int:
        a, b = self.drop.numerator, self.drop.denominator
        return -(-n * (fb * b + a * nb) // (nb * b))  # f / n >= fb / nb + a / b


@lru_cache(maxsize=256)
def ways(rules: Rules, *, beside: bool = False) -> tuple[Way, ...]:
    """Return every way to act under these rules, the first that holds decides: step 7 of `rollguard.judge.evidence`.

    While the old version serves beside the new one, only their comparison acts: an outage cannot mislead it. Else, all
    ways but the threshold rule's need evidence, so one alpha bounds them together. The exception is
    `fast_triggers = "alone"`, an explicit choice. A drop of 30 points with evidence is enough after 5 calls.
    """
    if beside:
        return (Way(RollbackType.CONCURRENT, concurrent=True),)
    enough, kind = rules.min_executions, RollbackType(rules.decision)
    evidence = kind is RollbackType.EVIDENCE
    found = [Way(kind, enough, enough, rules.threshold, evidence=evidence, scheduled=not evidence)]
    if evidence:
        critical = max(CRITICAL_DROP, rules.threshold)
        found.append(Way(kind, enough, min(FEWEST_FOR_CRITICAL, enough), critical, evidence=True))
    if rules.fast_triggers == "alone":
        found.append(Way(RollbackType.FAST, trigger=True))
    elif rules.fast_triggers == "with_evidence":
        found.append(Way(RollbackType.FAST, enough, evidence=True, trigger=True))
    if rules.rollback_on_slowdown:
        found.append(Way(RollbackType.SLOWDOWN, enough, enough, slowdown=True))
    if rules.rollback_on_score:
        found.append(Way(RollbackType.SCORE, score=True))
    return tuple(found)


def acting(
    rules: Rules,
    counts: Counts,
    *,
    scheduled: bool,
    evidence: Callable[[], bool],
    trigger: bool = False,
    slowdown: bool = False,
    score: bool = False,
    beside: bool | None = None,
) -> RollbackType | None:
    """Return what calls for a rollback at these counts; None if nothing does.

    Args:
        scheduled: whether the schedule makes the check.
        evidence: returns whether the counts are evidence; called only if a way requires it.
        trigger: whether a trigger was found.
        slowdown: whether the durations are evidence of a slowdown.
        score: whether the scores fell by the threshold or more, with evidence.
        beside: whether there is evidence against the version beside the old one; None if that one does not serve.
    """
    for way in ways(rules, beside=beside is not None):
        shown = {"trigger": trigger, "slowdown": slowdown, "score": score, "concurrent": bool(beside)}
        if any(getattr(way, name) and not found for name, found in shown.items()):
            continue
        if way.possible(counts, scheduled=scheduled) and (not way.evidence or evidence()):
            return way.kind
    return None


def may_act(rules: Rules, counts: Counts, *, scheduled: bool, trigger: bool) -> bool:
    """Return whether any way to act is possible; if not, a full judgement cannot call for a rollback.

    Args:
        trigger: whether there may be a trigger.
    """
    kind = acting(rules, counts, scheduled=scheduled, evidence=lambda: True, trigger=trigger, slowdown=True, score=True)
    return kind is not None
