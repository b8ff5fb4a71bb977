"""Compare how often two versions succeed with the same inputs: an exact test. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

Counts = tuple[int, int, int, int]
"""(successes of the first, runs of the first, successes of the second, runs of the second), with one input."""


def p_more(inputs: Iterable[Counts]) -> float:
    """Return how likely the first succeeds so often, or more often, if both succeed alike with each input.

    Fisher's exact test, with the inputs as strata: each input has a rate of its own.

    References:
        Birch (1964), The detection of partial association, I: the 2 × 2 case.
    """
    whole, observed = [1.0], 0
    for successes, runs, other_successes, other_runs in inputs:
        observed += successes
        total = successes + other_successes
        ways = math.comb(runs + other_runs, total)
        each = [math.comb(runs, k) * math.comb(other_runs, total - k) / ways for k in range(min(runs, total) + 1)]
        whole = [
            sum(whole[i] * each[k - i] for i in range(max(0, k - len(each) + 1), min(k, len(whole) - 1) + 1))
            for k in range(len(whole) + len(each) - 1)
        ]
    return min(1.0, sum(whole[observed:]))
