"""Evidence that calls take longer than before, free of any assumption on how durations are distributed.

Take the duration that four in five calls of the baseline did not exceed. A current call is slow when it took strictly
longer. If nothing changed, a call is slow as often as one of the baseline was, so the test for failures
(`rollguard.judge.evidence`) holds for slow calls too.

Durations are known by their bucket. The limit is the upper edge of the bucket that holds the order statistic, so calls
above it are counted exactly, and there are at most as many of them as above the order statistic itself. That makes the
test a little less quick, and never less sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rollguard.judge.evidence import Evidence
from rollguard.judge.histogram import EDGES, NO_DURATION, count_above
from rollguard.judge.windows import Window

FEWEST = 10  # durations in the baseline


@dataclass(frozen=True, slots=True)
class Slowdown:
    """What the durations say.

    Attributes:
        limit_ms: a call that took longer is slow.
        slow_before, timed_before: calls of the baseline that may have been slow, and all with a duration.
        slow, timed: the same since the deployment.
        log_e, required: natural logs; there is evidence when the first reaches the second.
    """

    limit_ms: float
    slow_before: int
    timed_before: int
    slow: int
    timed: int
    log_e: float
    required: float

    @property
    def present(self) -> bool:
        """Whether there is evidence that calls became slower."""
        return self.log_e >= self.required


def slowdown(baseline: Window, current: Window, alpha: float) -> Slowdown | None:
    """Test the durations of two windows; None where too few are known to say anything.

    Args:
        alpha: bound on the probability of ever calling an unchanged tool slower.
    """
    if baseline.timed < FEWEST or not current.timed or not (baseline.histogram and current.histogram):
        return None
    limit, slow_before = _limit(baseline.histogram, baseline.timed)
    if limit >= len(EDGES):
        return None  # most calls already took longer than the longest edge
    slow = count_above(dict(current.histogram), limit)
    test = Evidence(baseline.timed, slow_before, alpha)
    log_e = test.log_e(current.timed, slow)
    return Slowdown(EDGES[limit], slow_before, baseline.timed, slow, current.timed, log_e, test.required)


@lru_cache(maxsize=16_384)
def _limit(histogram: tuple[tuple[int, int], ...], timed: int) -> tuple[int, int]:
    """(edge, calls beyond the order statistic), the statistic being the ceil(0.8 * timed)-th smallest duration."""
    rank = -(-timed * 4 // 5)
    seen = 0
    for bucket, count in histogram:
        if bucket == NO_DURATION:
            continue
        seen += count
        if seen >= rank:
            return bucket, timed - rank
    raise AssertionError("a histogram holds as many durations as its window says")  # pragma: no cover
