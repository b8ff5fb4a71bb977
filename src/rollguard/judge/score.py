"""Test whether the answers became worse: scores in [0, 1] that callers give to executions, 1 for a right answer.

Scores are counted on a grid of 101 points, those of the baseline rounded down, those since the deployment rounded up.
Work in losses y = 1 - score, with a baseline of mean loss l. The bets v_j are those of `rollguard.judge.evidence`.

1. Bets that the baseline's mean score exceeds m have the capital K(m) = 1/8 sum_j prod_i (1 - v_j + v_j x_i / m). It
   falls with m. The lower bound L of the mean score is the largest m with K(m) >= 2/alpha; 0 if there is none.
2. With U = 1 - L, the capital since the deployment is M = 1/8 sum_j prod_i (1 - v_j + v_j y_i / U). There is evidence
   when M >= 2/alpha.

Why it holds: if the mean score is at most m, each factor of K(m) has a mean of at most 1, so L exceeds the true mean
with probability at most alpha/2 (Markov). If it does not, l <= U, so the factors of M have a mean of at most 1 for a
version whose loss, given the past, is l or less, and M ever reaches 2/alpha with probability at most alpha/2 (Ville).
Both errors together are alpha, at any number of checks. Rounding makes L smaller and each y smaller: never less valid.
The products are sums over the histogram, so the order of the scores changes nothing and a record is enough to replay.

Assumes independent scores in the baseline, and that which calls are scored does not depend on the version or answer.

References: Ville 1939; Waudby-Smith & Ramdas 2023, *Estimating means of bounded random variables by betting*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rollguard.judge.evidence import BETS
from rollguard.judge.rules import Rules
from rollguard.judge.windows import Window

GRID = 100  # steps from 0 to 1
BUCKETS = 2 * GRID + 1
"""Bucket 2 k holds the scores of exactly k/100, bucket 2 k + 1 those between k/100 and (k+1)/100."""

_HALVINGS = 48
Histogram = tuple[tuple[int, int], ...]


def score_bucket(score: float) -> int:
    """Return the bucket of a score."""
    near = round(score * GRID)
    return 2 * near if score == near / GRID else 2 * math.floor(score * GRID) + 1


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of two windows, and the result of the test.

    Attributes:
        before, now: mean scores, the baseline's rounded down and the current one's up.
        scored_before, scored: executions with a score.
        enough: whether both windows have enough of them.
        dropped: whether the mean fell by the threshold or more, with enough scores.
        bound: the lower confidence bound of the baseline's mean.
        log_e, required: natural logs; there is evidence if the first reaches the second.
    """

    before: Fraction
    now: Fraction
    scored_before: int
    scored: int
    enough: bool
    dropped: bool
    bound: float
    log_e: float
    required: float

    @property
    def present(self) -> bool:
        """Return whether there is evidence that the answers became worse."""
        return self.log_e >= self.required


def scores(baseline: Window, current: Window, rules: Rules, alpha: float) -> Scores | None:
    """Test the scores of two windows; return None if one has none.

    Args:
        alpha: bound on the probability that answers as good as before are ever called worse.
    """
    if not baseline.scores or not current.scores:
        return None
    before, now = _points(baseline.scores, up=False), _points(current.scores, up=True)
    calls_before, calls = (sum(count for _point, count in points) for points in (before, now))
    mean_before, mean = _mean(before, calls_before), _mean(now, calls)
    required = math.log(2.0 / alpha)
    bound = _lower_bound(before, required)
    losses = tuple((GRID - point, count) for point, count in now)
    enough = min(calls_before, calls) >= rules.min_executions
    return Scores(
        *(mean_before, mean, calls_before, calls, enough),
        dropped=enough and mean_before - mean >= rules.threshold,
        bound=bound,
        log_e=_log_capital(losses, 1.0 - bound),
        required=required,
    )


def _points(histogram: Histogram, *, up: bool) -> Histogram:
    """Return (point of the grid, executions): a score between two points is rounded up or down."""
    points: dict[int, int] = {}
    for bucket, count in histogram:
        point = (bucket + up) // 2
        points[point] = points.get(point, 0) + count
    return tuple(sorted(points.items()))


def _mean(points: Histogram, calls: int) -> Fraction:
    return Fraction(sum(point * count for point, count in points), GRID * calls)


@lru_cache(maxsize=4_096)
def _lower_bound(points: Histogram, required: float) -> float:
    """Return L: step 1, by bisection from 0 on, so that it never lies above the true root."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_capital(points, middle) >= required else (low, middle)
    return low


def _log_capital(points: Iterable[tuple[int, int]], mean: float) -> float:
    """Return the log of the mean over the bets that values exceed `mean`; 0 < mean <= 1."""
    values = [(point / GRID / mean, count) for point, count in points]
    terms = [math.fsum(count * math.log1p(v * (value - 1.0)) for value, count in values) for v in BETS]
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms)) - math.log(len(BETS))
