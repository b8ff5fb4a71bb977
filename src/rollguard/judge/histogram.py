"""Durations in buckets with fixed, log-spaced edges: histograms merge by adding, and counts above an edge are exact.

Bucket k holds the durations in (EDGES[k-1], EDGES[k]] milliseconds: bucket 0 everything up to the first edge, the
last one everything above the last edge. Neighbouring edges lie a factor of 10^(1/48) apart, so a percentile read from
a bucket's geometric middle is off by at most 2.5 % for durations between 1 microsecond and 27 hours.

Reference: Masson, Rim & Lee 2019, *DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees*. Here the edges are fixed numbers, compared and never computed, so that every database puts a duration into
the same bucket.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping

_PER_DECADE = 48
_DECADES = range(-3, 8)  # from 0.001 ms to 10^8 ms

EDGES: tuple[float, ...] = (
    *(float(f"{10 ** (decade + step / _PER_DECADE):.6g}") for decade in _DECADES for step in range(_PER_DECADE)),
    1e8,
)

NO_DURATION = -1  # the bucket of an execution that was recorded without a duration

RELATIVE_ERROR = 0.025


def bucket_of(duration_ms: float | None) -> int:
    """The bucket of a duration: exact, since the edge itself belongs to the bucket below."""
    return NO_DURATION if duration_ms is None else bisect_left(EDGES, duration_ms)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The duration in milliseconds that `share` (0 to 1) of the executions do not exceed; None without durations.

    The rank is ceil(share * n), as in the definition of the inverse of the empirical distribution. The answer is off
    by at most `RELATIVE_ERROR`.
    """
    total = sum(count for bucket, count in histogram.items() if bucket != NO_DURATION)
    if not total:
        return None
    rank = max(1, math.ceil(share * total))
    for bucket in sorted(histogram):
        if bucket == NO_DURATION:
            continue
        rank -= histogram[bucket]
        if rank <= 0:
            return _middle(bucket)
    raise AssertionError("the counts of a histogram add up to their total")  # pragma: no cover


def count_above(histogram: Mapping[int, int], edge: int) -> int:
    """How many executions took strictly longer than `EDGES[edge]`. Exact."""
    return sum(count for bucket, count in histogram.items() if bucket > edge)


def _middle(bucket: int) -> float:
    if bucket == 0:
        return EDGES[0]
    if bucket == len(EDGES):
        return EDGES[-1]
    return math.sqrt(EDGES[bucket - 1] * EDGES[bucket])
