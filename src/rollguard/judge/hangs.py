"""Find calls that hang: given up on by their callers, or still running after the tool's `timeout_seconds`. Pure.

A call that its caller gave up on is a failure only if it ran longer than the baseline's 99th percentile: a user who
goes away, or an agent that changes its mind, is no fault of the tool. A call of a tool with a `timeout_seconds` is
compared with that limit when it is recorded.

These failures are newer than the others. They decide only if the whole baseline was recorded by a Rollguard that knows
them, with the same `timeout_seconds`. Otherwise they are reported, and count in neither window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rollguard.judge.histogram import EDGES, bucket_of, percentile_bucket
from rollguard.judge.windows import Window

GIVEN_UP = "CallerGaveUp"
TIMED_OUT = "CallTimedOut"
WITHDRAWN = "CallWithdrawn"
CONTROL_FLOW = "ControlFlow"
UNJUDGED = "TailSampled"

NEWER = (GIVEN_UP, TIMED_OUT)
"""Error types of failures that decide only if the baseline was counted by them too."""
UNCOUNTED = (WITHDRAWN, CONTROL_FLOW, UNJUDGED)
"""Error types of executions that are neither successes nor failures."""

_USUAL = 0.99


@dataclass(frozen=True, slots=True)
class Hangs:
    """The calls that hung, before and since a deployment.

    Attributes:
        baseline, current: calls that hung.
        limit_ms: a call that its caller gave up on hung if it ran longer; None if the baseline has no durations.
        counted: whether they count as failures in both windows.
    """

    baseline: int
    current: int
    limit_ms: float | None
    counted: bool

    @classmethod
    def in_windows(cls, baseline: Window, current: Window, *, counted: bool) -> Self | None:
        """Return the hangs of two windows; None if nobody gave up and nothing timed out."""
        if not any((baseline.given_up, baseline.timed_out, current.given_up, current.timed_out)):
            return None
        edge = percentile_bucket(baseline.histogram, _USUAL)
        if edge == len(EDGES):  # above the last edge, so no duration is known to be longer
            edge = None
        limit = None if edge is None else EDGES[edge]
        return cls(_hung(baseline, edge), _hung(current, edge), limit, counted)

    @classmethod
    def none(cls) -> Self:
        """Return that nothing hung."""
        return cls(0, 0, None, counted=False)

    def counts(self, error_type: str | None, duration_ms: float | None) -> bool:
        """Return whether a failed execution counts as a failure."""
        if error_type not in NEWER:
            return True
        longer = self.limit_ms is not None and duration_ms is not None
        return self.counted and (
            error_type == TIMED_OUT or (longer and bucket_of(duration_ms) > bucket_of(self.limit_ms))
        )

    def add_to(self, baseline: Window, current: Window) -> tuple[Window, Window]:
        """Return the two windows as they are compared: with the hangs as failures, if they count."""
        before, now = (self.baseline, self.current) if self.counted else (0, 0)
        return baseline.with_failures(before), current.with_failures(now)

    def to_dict(self) -> dict[str, Any]:
        """Return the hangs as a JSON-safe mapping."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the hangs that `to_dict` wrote."""
        return cls(**kept)


def _hung(window: Window, edge: int | None) -> int:
    longer = 0 if edge is None else sum(calls for bucket, calls in window.given_up if bucket > edge)
    return window.timed_out + longer
