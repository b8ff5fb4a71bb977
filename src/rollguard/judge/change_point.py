"""Is a baseline all of one kind? What is found is told, and changes no verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SURE = 0.001  # chance of finding a change point where there is none
_WORTH_TELLING = 0.05  # difference of the success rates


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where the success rate of a series changed for good: before the period `at` it was one, from it on another."""

    at: int
    rate_before: float
    rate_after: float


def change_point(series: Sequence[tuple[int, int]]) -> ChangePoint | None:
    """The most likely change of the success rate in a series, if it is no chance and 5 points or more.

    Args:
        series: (executions, failures) of periods that follow each other.

    The test is the likelihood ratio of two rates against one at the best of all splits. Under no change twice its log
    exceeds g at one split with probability at most about exp(-g/2), so 2 ln(splits / 0.001) is asked for.

    References: Hinkley & Hinkley 1970, *Inference about the change-point in a sequence of binomial variables*.
    """
    total, failed = sum(n for n, _f in series), sum(f for _n, f in series)
    splits = len(series) - 1
    if splits < 1:
        return None
    best, found = 2 * math.log(splits / _SURE), None
    whole, n, f = _log_likelihood(total, failed), 0, 0
    for at, (executions, failures) in enumerate(series[:-1], start=1):
        n, f = n + executions, f + failures
        if not 0 < n < total:
            continue
        ratio = 2 * (_log_likelihood(n, f) + _log_likelihood(total - n, failed - f) - whole)
        before, after = 1 - f / n, 1 - (failed - f) / (total - n)
        if ratio >= best and abs(before - after) >= _WORTH_TELLING:
            best, found = ratio, ChangePoint(at, before, after)
    return found


def _log_likelihood(n: int, f: int) -> float:
    return sum(count * math.log(count / n) for count in (f, n - f) if count)
