"""Compute how many more executions a verdict needs if the present rates continue."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import count

from rollguard.judge.evidence import Evidence
from rollguard.judge.policy import Counts, acting, ways
from rollguard.judge.verdict import Judgement, Verdict

MOST = 1_000_000  # current executions; a verdict that needs more counts as never


def executions_needed(judgement: Judgement) -> int | None:
    """Return how many more executions since the deployment the verdict needs at the present rates.

    Returns:
        0 if there is a verdict. None if no number of executions is enough: the baseline is too small, or the evidence
        rule cannot tell the present failure rate from the baseline's.
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
    projection = _Projection(judgement)
    least = min(projection.until_healthy(), projection.until_worse())
    return least - current.total if least <= MOST else None


class _Projection:
    """Future calls that fail at the present rate, rounded down. Calls with the same number of failures are one block.

    Neither rule is monotone in the calls, because the rate falls between two failures. So each block is tested.
    """

    def __init__(self, judgement: Judgement) -> None:
        baseline, current = judgement.comparison.baseline, judgement.comparison.current
        self._rules, self._before = judgement.rules, (baseline.total, baseline.failures)
        self._total, self._failed = current.total, current.failures
        self._test = Evidence(*self._before, judgement.evidence.alpha, judgement.rules.delta)

    def until_healthy(self) -> int:
        """Return the fewest calls at which the failure rate is below that of a regression."""
        limit = Fraction(self._before[1], self._before[0]) + self._rules.threshold
        rate = Fraction(self._failed, self._total)
        for failures in count(self._failed):
            first, last = self._block(failures)
            calls = max(first, self._rules.min_executions, failures * limit.denominator // limit.numerator + 1)
            if calls <= last:
                return calls
            if first > MOST or rate == 1 or (rate - limit) * first > 1:  # rounding takes less than one failure
                break
        return MOST + 1

    def until_worse(self) -> int:
        """Return the fewest calls at which the rules act.

        The first calls of a block are the strongest evidence. So it tests these, and the calls at which a way to act
        becomes possible. Evidence rises along the exact rate once it is above 0, and rounding down only weakens it.
        """
        edges = {way.calls for way in ways(self._rules)}
        failures = self._first_evident()
        while failures * self._total <= MOST * self._failed:
            first, last = self._block(failures)
            for calls in sorted({first, *edges}):
                if first <= calls <= last and self._acts(calls, failures):
                    return calls
            failures += 1
        return MOST + 1

    def _first_evident(self) -> int:
        """Return the fewest failures that are evidence at the exact rate; too many if none are."""
        low, high = self._failed - 1, self._failed
        while not self._evident(high * self._total / self._failed, high):
            low, high = high, 2 * high
            if low * self._total > MOST * self._failed:
                return high
        while high - low > 1:
            middle = (low + high) // 2
            found = self._evident(middle * self._total / self._failed, middle)
            low, high = (low, middle) if found else (middle, high)
        return high

    def _block(self, failures: int) -> tuple[int, int]:
        """Return the fewest and the most future calls with this number of failures."""
        last = -(-(failures + 1) * self._total // self._failed) - 1
        return max(self._total + 1, -(-failures * self._total // self._failed)), last

    def _acts(self, calls: int, failures: int) -> bool:
        counts, evident = Counts(*self._before, calls, failures), partial(self._evident, calls, failures)
        return acting(self._rules, counts, scheduled=False, evidence=evident) is not None

    def _evident(self, calls: float, failures: int) -> bool:
        return self._test.log_e(calls, failures) >= self._test.required
