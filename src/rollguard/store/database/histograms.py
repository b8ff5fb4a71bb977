"""Buckets of durations and histograms of them, in each database's own words.

A bucket is the same everywhere, to the last bit of the edge. A histogram is the column `histogram` of the table `x`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

# A function on both: on SQLite every connection of ours brings it, on PostgreSQL the schema has it.
BUCKET = "rollguard_bucket(x.duration_ms)"


@dataclass(frozen=True, slots=True)
class Unfolded:
    """How a histogram is read: the join that makes a row of each bucket, and what is in such a row."""

    join: str
    bucket: str
    executions: str


UNFOLDED = {
    "postgresql": Unfolded(
        "CROSS JOIN LATERAL unnest(x.histogram[1:1], x.histogram[2:2]) AS h (bucket, executions)",
        "h.bucket",
        "h.executions",
    ),
    "sqlite": Unfolded("CROSS JOIN json_each(x.histogram) AS h", "CAST(h.key AS INTEGER)", "h.value"),
}


def histogram_text(histogram: Mapping[int, int], dialect: str) -> str:
    """A histogram as the database reads it."""
    if dialect == "sqlite":
        return json.dumps(histogram, separators=(",", ":"))
    if not histogram:
        return "{}"
    return f"{{{{{','.join(map(str, histogram))}}},{{{','.join(map(str, histogram.values()))}}}}}"


def merged_json(one: str, other: str) -> str:
    """Two histograms of SQLite as one: there the function `rollguard_merged`, which every connection of ours brings."""
    merged = json.loads(one)
    for bucket, executions in json.loads(other).items():
        merged[bucket] = merged.get(bucket, 0) + executions
    return json.dumps(merged, separators=(",", ":"))
