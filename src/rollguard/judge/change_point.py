"""Find a lasting change of the success rate within a baseline. It is reported, and changes no verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_FALSE_ALARM = 0.001  # probability of finding a change point if there is none
_SMALLEST_CHANGE = 0.05  # of the success rate that is worth reporting


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A lasting change of the success rate: `rate_before` up to the period `at`, `rate_after` from it on."""

    at: int
    rate_before: float
    rate_after: float


def change_point(series: Sequence[tuple[int, int]]) -> ChangePoint | None:
    """Return the most likely change of the success rate in a series, if it is significant and 5 points or more.

    The test is the likelihood ratio of two rates against one at the best of all splits. Without a change, twice its
    log exceeds g at one split with probability at most about exp(-g/2). So the test requires 2 ln(splits / 0.001).

    Args:
        series: (executions, failures) of consecutive periods.

    References: Hinkley & Hinkley 1970, *Inference about the change-point in a sequence of binomial variables*.
    """
    total, failed = sum(n for n, _f in series), sum(f for _n, f in series)
    splits = len(series) - 1
    if splits < 1:
        return None
    best, found = 2 * math.log(splits / _FALSE_ALARM), None
    whole, n, f = _log_likelihood(total, failed), 0, 0
    for at, (executions, failures) in enumerate(series[:-1], start=1):
        n, f = n + executions, f + failures
        if not 0 < n < total:
            continue
        ratio = 2 * (_log_likelihood(n, f) + _log_likelihood(total - n, failed - f) - whole)
        before, after = 1 - f / n, 1 - (failed - f) / (total - n)
        if ratio >= best and abs(before - after) >= _SMALLEST_CHANGE:
            best, found = ratio, ChangePoint(at, before, after)
    return found


def _log_likelihood(n: int, f: int) -> float:
    return sum(count * math.log(count / n) for count in (f, n - f) if count)
