"""Count durations in buckets with fixed, log-spaced edges. Histograms add up, and counts above an edge are exact.

Bucket k holds the durations in (EDGES[k-1], EDGES[k]] milliseconds. Bucket 0 holds everything up to the first edge,
the last bucket everything above the last edge. The ratio of neighbouring edges is 10^(1/48), so a percentile read from
a bucket's geometric middle is off by at most 2.5 % for durations between 1 microsecond and 27 hours.

Reference: Masson, Rim & Lee 2019, *DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees*. Here the edges are fixed numbers, so that every database puts a duration into the same bucket.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import accumulate, pairwise

_PER_DECADE = 48
_DECADES = range(-3, 8)  # from 0.001 ms to 10^8 ms

EDGES: tuple[float, ...] = (
    *(float(f"{10 ** (decade + step / _PER_DECADE):.6g}") for decade in _DECADES for step in range(_PER_DECADE)),
    1e8,
)

_MIDDLES = (EDGES[0], *(math.sqrt(low * high) for low, high in pairwise(EDGES)), EDGES[-1])  # of the buckets

NO_DURATION = -1  # the bucket of an execution without a duration

SCORES = 5_000
"""In a stored histogram, the buckets from here on count scores (`rollguard.judge.score`) instead of executions."""

RELATIVE_ERROR = 0.025


def bucket_of(duration_ms: float | None) -> int:
    """Return the bucket of a duration. An edge itself belongs to the bucket below it."""
    return NO_DURATION if duration_ms is None else bisect_left(EDGES, duration_ms)


def histogram_of(durations_ms: Iterable[float]) -> Counter[int]:
    """Return how many of the durations each bucket holds."""
    return Counter(map(partial(bisect_left, EDGES), durations_ms))


def percentiles(histogram: Iterable[tuple[int, int]], shares: Iterable[float]) -> tuple[float | None, ...]:
    """Return the percentiles of the durations, in milliseconds; None for each if there are no durations.

    The rank of a share is ceil(share * n), as in the inverse of the empirical distribution. A percentile is off by at
    most `RELATIVE_ERROR`.

    Args:
        histogram: (bucket, executions), in the order of the buckets.
        shares: rising shares from 0 to 1.
    """
    return tuple([None if bucket is None else _MIDDLES[bucket] for bucket in _percentile_buckets(histogram, shares)])


def percentile_bucket(histogram: Iterable[tuple[int, int]], share: float) -> int | None:
    """Return the bucket of a percentile; None if there are no durations. Arguments as for `percentiles`."""
    return _percentile_buckets(histogram, [share])[0]


def _percentile_buckets(histogram: Iterable[tuple[int, int]], shares: Iterable[float]) -> list[int | None]:
    timed = [pair for pair in histogram if pair[0] != NO_DURATION]
    if not timed:
        return [None for _share in shares]
    reached = list(accumulate([count for _bucket, count in timed]))
    return [timed[bisect_left(reached, max(1, math.ceil(share * reached[-1])))][0] for share in shares]


def count_above(histogram: Mapping[int, int], edge: int) -> int:
    """Count the executions that took strictly longer than `EDGES[edge]`. Exact."""
    return sum(count for bucket, count in histogram.items() if bucket > edge)
