"""The bucket of a duration, in each database's own words; the same bucket everywhere, to the last bit of the edge."""

from __future__ import annotations

from rollguard.judge.histogram import EDGES

# width_bucket counts the thresholds at or below a value; turned round, those at or above it: the edge belongs below.
_EDGES = ", ".join(repr(-edge) for edge in reversed(EDGES))
BUCKET_POSTGRESQL = (
    "CASE WHEN x.duration_ms IS NULL THEN -1 "
    f"ELSE {len(EDGES)} - width_bucket(-x.duration_ms, ARRAY[{_EDGES}]::float8[]) END"
)

BUCKET_SQLITE = "rollguard_bucket(x.duration_ms)"  # a function that every connection of ours brings
