"""How many more executions a verdict needs, if things go on as they are."""

from __future__ import annotations

from rollguard.judge.evidence import Evidence
from rollguard.judge.verdict import Judgement, Verdict

MOST = 1_000_000  # more executions than this are never


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
    missing = max(0, rules.min_executions - current.total)
    failing = (comparison.success_rate_drop or 0) >= rules.threshold
    if rules.decision == "threshold" or not failing:
        return missing
    test = Evidence(baseline.total, baseline.failures, rules.success_alpha, rules.delta)

    def enough(calls: int) -> bool:
        return test.present(calls, calls * current.failures // current.total)

    low, high = current.total, max(current.total, rules.min_executions)
    while not enough(high):
        if high >= MOST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(missing, high - current.total)
