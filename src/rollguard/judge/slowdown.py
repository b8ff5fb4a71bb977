"""Test whether calls take longer than before, without an assumption on the distribution of durations.

The limit is the duration that four in five calls of the baseline did not exceed. A current call is slow if it took
strictly longer. If nothing changed, calls are slow as often as those of the baseline. So the test for failures
(`rollguard.judge.evidence`) is valid for slow calls too.

Only the bucket of a duration is stored. The limit is the upper edge of the bucket that holds the order statistic, so
calls above it are counted exactly. They are at most as many as those above the order statistic itself: the test is a
little slower, and never less certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rollguard.judge.evidence import Evidence
from rollguard.judge.histogram import EDGES, NO_DURATION, count_above
from rollguard.judge.windows import Window

FEWEST = 10  # durations in the baseline that the test requires


@dataclass(frozen=True, slots=True)
class Slowdown:
    """The result of the test for a slowdown.

    Attributes:
        limit_ms: a call that took longer is slow.
        slow_before, timed_before: calls of the baseline above the order statistic, and all with a duration.
        slow, timed: slow calls since the deployment, and all with a duration.
        log_e, required: natural logs; there is evidence if the first reaches the second.
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
        """Return whether there is evidence that calls became slower."""
        return self.log_e >= self.required


def slowdown(baseline: Window, current: Window, alpha: float) -> Slowdown | None:
    """Test the durations of two windows; return None if too few calls have a duration.

    Args:
        alpha: bound on the probability that an unchanged tool is ever called slower.
    """
    if baseline.timed < FEWEST or not current.timed or not (baseline.histogram and current.histogram):
        return None
    limit, slow_before = _limit(baseline.histogram, baseline.timed)
    if limit >= len(EDGES):
        return None  # the order statistic lies above the last edge
    slow = count_above(dict(current.histogram), limit)
    test = Evidence(baseline.timed, slow_before, alpha)
    log_e = test.log_e(current.timed, slow)
    return Slowdown(EDGES[limit], slow_before, baseline.timed, slow, current.timed, log_e, test.required)


@lru_cache(maxsize=16_384)
def _limit(histogram: tuple[tuple[int, int], ...], timed: int) -> tuple[int, int]:
    """Return (edge, calls above the order statistic); the statistic is the ceil(0.8 * timed)-th smallest duration."""
    rank = -(-timed * 4 // 5)
    seen = 0
    for bucket, count in histogram:
        if bucket == NO_DURATION:
            continue
        seen += count
        if seen >= rank:
            return bucket, timed - rank
    raise AssertionError("a histogram must hold as many durations as its window counts")  # pragma: no cover
