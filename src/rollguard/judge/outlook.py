"""How many more executions a verdict needs, if things go on as they are."""

from __future__ import annotations

from fractions import Fraction

from rollguard.judge.comparison import CRITICAL_DROP
from rollguard.judge.evidence import Evidence
from rollguard.judge.verdict import FEWEST_FOR_CRITICAL, Judgement, Verdict

MOST = 1_000_000  # more executions than this are never
FEW = 200  # as many are tried one by one


def executions_needed(judgement: Judgement) -> int | None:
    """How many more executions since the deployment the verdict needs at the present rates.

    Returns:
        0 where there is a verdict; None where no number of executions would do: the baseline is too small, or the
        present failure rate is none that the evidence rule could tell from it.
    """
    if judgement.verdict is not Verdict.INSUFFICIENT_DATA:
        return 0
    rules, comparison = judgement.rules, judgement.comparison
    baseline, current = comparison.baseline, comparison.current
    if baseline.total < rules.min_executions:
        return None
    failing = (comparison.success_rate_drop or 0) >= rules.threshold
    if rules.decision == "threshold" or not failing:
        return max(0, rules.min_executions - current.total)
    test = Evidence(baseline.total, baseline.failures, rules.success_alpha, rules.delta)

    def enough(calls: int) -> bool:
        failures = calls * current.failures // current.total
        if not test.present(calls, failures):
            return False
        if calls >= rules.min_executions:
            return True
        lost = Fraction(failures, calls) - Fraction(baseline.failures, baseline.total)
        return calls >= FEWEST_FOR_CRITICAL and lost >= max(CRITICAL_DROP, rules.threshold)

    # A large drop needs fewer calls than `min_executions`.
    few = range(current.total + 1, min(rules.min_executions, current.total + FEW))
    soon = next(filter(enough, few), None)
    if soon is not None:
        return soon - current.total
    low, high = max(current.total, rules.min_executions - 1), max(current.total, rules.min_executions)
    while not enough(high):
        if high >= MOST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high - current.total
