"""Buckets and histograms of durations, in each database's SQL.

A bucket is the same on both, to the last bit of its edge. A histogram is the column `histogram` of the table `x`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rollguard.judge.histogram import bucket_of

SCORE_BUCKET = {
    "sqlite": "(CASE WHEN round(x.score * 100) / 100 = x.score THEN 2 * CAST(round(x.score * 100) AS INTEGER) "
    "ELSE 2 * CAST(x.score * 100 AS INTEGER) + 1 END)",
    "postgresql": "rollguard_score_bucket(x.score)",
}
# A function on both: on SQLite our connections define it, on PostgreSQL the schema does.
BUCKET = "rollguard_bucket(x.duration_ms)"


@dataclass(frozen=True, slots=True)
class HistogramRows:
    """How a histogram is read as rows: the join that returns a row for each bucket, and the columns of that row."""

    join: str
    bucket: str
    executions: str


HISTOGRAM_ROWS = {
    "postgresql": HistogramRows(
        "CROSS JOIN LATERAL unnest(x.histogram[1:1], x.histogram[2:2]) AS h (bucket, executions)",
        "h.bucket",
        "h.executions",
    ),
    "sqlite": HistogramRows("CROSS JOIN json_each(x.histogram) AS h", "CAST(h.key AS INTEGER)", "h.value"),
}


def histogram_text(histogram: Mapping[int, int], dialect: str) -> str:
    """Return a histogram (bucket to executions) as text that the database reads."""
    if dialect == "sqlite":
        return json.dumps(histogram, separators=(",", ":"))
    if not histogram:
        return "{}"
    return f"{{{{{','.join(map(str, histogram))}}},{{{','.join(map(str, histogram.values()))}}}}}"


def bucket_of_row(duration_ms: object) -> int:
    """Return the bucket of a row's duration. Text, which SQLite accepts in any column, counts as none."""
    return bucket_of(duration_ms if isinstance(duration_ms, int | float) else None)


def merged_json(one: str, other: str) -> str:
    """Merge two histograms of SQLite. Our connections define it there as the function `rollguard_merged`."""
    merged = json.loads(one)
    for bucket, executions in json.loads(other).items():
        merged[bucket] = merged.get(bucket, 0) + executions
    return json.dumps(merged, separators=(",", ":"))
