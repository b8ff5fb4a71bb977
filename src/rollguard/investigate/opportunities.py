"""Say which tools are worth an improvement, and what they cost. Pure.

A rate counts by its confidence bound, so that 2 failures of 3 calls are no opportunity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from rollguard.judge.binomial import binomial_cdf, clopper_pearson_upper
from rollguard.model.uses import Uses

LEVEL = 0.05  # of each bound
DAYS = 7  # of calls that are looked at
RECENT = timedelta(hours=24)
LOW, _VERY_LOW = 0.7, 0.5
_FEWEST_RECENT = 3
_FEWEST_NEW = 2
_SURELY_NEW = 0.01  # the chance of no earlier one, if it was as frequent as now
_FEWEST_TIMED = 10
_SLOW_MS = 5_000.0
_SLOWER = 3.0  # times as long as before: 200 % slower
_OFTEN = 0.1  # the share of calls from which on recent failures are more than a few


class OpportunityKind(StrEnum):
    """Why a tool is worth an improvement."""

    LOW_SUCCESS_RATE = "low_success_rate"
    RECENT_FAILURES = "recent_failures"
    NEW_ERROR = "new_error"
    SLOW = "slow"


class Priority(StrEnum):
    """How urgent an opportunity is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class LeftAlone(StrEnum):
    """Why a tool is left alone for now; the first that holds is named."""

    FROZEN = "frozen"
    CAPPED = "capped"
    COOL_DOWN = "cool-down"
    OUTSIDE_CAUSE = "outside cause"
    UNDER_MONITORING = "under monitoring"
    UNPROVABLE = "a repair cannot be proven"  # a rehearsal shows that failures are gone, not that a tool is fast enough


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A tool that is worth an improvement.

    Attributes:
        tool_name: the tool.
        kind: why.
        priority: how urgent.
        calls_lost_per_day: failed calls a day.
        seconds_lost_per_day: the time that they took, or that calls take too long.
        left_alone: why the tool is left alone for now; None if it is not.
        reason: what was counted, in words.
    """

    tool_name: str
    kind: OpportunityKind
    priority: Priority
    calls_lost_per_day: float
    seconds_lost_per_day: float
    left_alone: LeftAlone | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return what `rollguard opportunities --json` prints."""
        return {
            "tool_name": self.tool_name,
            "kind": str(self.kind),
            "priority": str(self.priority),
            "calls_lost_per_day": round(self.calls_lost_per_day, 3),
            "seconds_lost_per_day": round(self.seconds_lost_per_day, 3),
            "left_alone": None if self.left_alone is None else str(self.left_alone),
        }


def ranked(
    uses: Mapping[str, Sequence[Uses]],
    now: datetime,
    left_alone: Mapping[str, Iterable[LeftAlone]],
    *,
    cooling: Collection[tuple[str, str]] = (),
    low: float = LOW,
    fewest: int = 1,
) -> list[Opportunity]:
    """Return the opportunities of all tools, those that cost most first.

    Args:
        uses: the calls of each tool in the last `DAYS`.
        now: the present moment.
        left_alone: why tools are left alone; of several reasons, the first of `LeftAlone` is named.
        cooling: tools with the kinds of opportunities for which an attempt failed lately.
        low: a success rate that is certainly below this is low.
        fewest: tools with fewer calls are left out.
    """
    order = list(LeftAlone)

    def in_turn(one: Opportunity) -> Opportunity:
        if (one.tool_name, str(one.kind)) not in cooling:
            return one
        return replace(one, left_alone=min(one.left_alone or LeftAlone.COOL_DOWN, LeftAlone.COOL_DOWN, key=order.index))

    found = [
        in_turn(opportunity)
        for tool_name, own in uses.items()
        if sum(one.calls for one in own) >= fewest
        for opportunity in _of_tool(
            tool_name, own, now, min(left_alone.get(tool_name, ()), key=order.index, default=None), low
        )
    ]
    found.sort(key=lambda one: (-one.calls_lost_per_day, -one.seconds_lost_per_day, one.tool_name, one.kind))
    return found


@dataclass(frozen=True, slots=True)
class _Sum:
    """Some calls, added up."""

    calls: int
    failures: int
    timed: int
    duration_ms: float
    failing_ms: float
    days: float

    @classmethod
    def of(cls, uses: Iterable[Uses], now: datetime) -> _Sum:
        some = list(uses)
        began = min((one.first for one in some), default=now)
        return cls(
            sum(one.calls for one in some),
            sum(one.failures for one in some),
            sum(one.timed for one in some),
            sum(one.duration_ms for one in some),
            sum(one.duration_ms * one.failures / one.calls for one in some),
            max(1.0, (now - began) / timedelta(days=1)),
        )

    @property
    def mean_ms(self) -> float:
        return self.duration_ms / self.timed if self.timed else 0.0

    def succeeds_below(self, rate: float) -> bool:
        """Return whether the upper bound of the success rate is below a rate."""
        good = self.calls - self.failures
        if good >= rate * self.calls:  # so is the bound
            return False
        return clopper_pearson_upper(self.calls, good, LEVEL) < rate

    @property
    def failed(self) -> str:
        return f"{self.failures:,} of {self.calls:,} calls failed"


def _of_tool(
    tool_name: str, uses: Sequence[Uses], now: datetime, left_alone: LeftAlone | None, low: float
) -> Iterable[Opportunity]:
    live = [one for one in uses if one.current]
    every = _Sum.of(live, now)
    recent = _Sum.of((one for one in live if one.recent), now)

    def found(kind: OpportunityKind, priority: Priority, sums: _Sum, reason: str) -> Opportunity:
        lost, seconds = sums.failures / sums.days, sums.failing_ms / 1000 / sums.days
        return Opportunity(tool_name, kind, priority, lost, seconds, left_alone, reason)

    if every.succeeds_below(low):
        priority = Priority.HIGH if every.succeeds_below(_VERY_LOW) else Priority.MEDIUM
        reason = f"{every.failed} since {every.days:.0f} days" if every.days > 1 else every.failed
        yield found(OpportunityKind.LOW_SUCCESS_RATE, priority, every, reason)
    elif recent.failures >= _FEWEST_RECENT:
        often = recent.succeeds_below(1 - _OFTEN)
        yield found(
            OpportunityKind.RECENT_FAILURES,
            Priority.MEDIUM if often else Priority.LOW,
            recent,
            f"{recent.failed} in the last 24 hours",
        )
    for error_type, sums in _new_errors(uses, recent.calls, now):
        priority = Priority.HIGH if recent.succeeds_below(low) else Priority.MEDIUM
        yield found(OpportunityKind.NEW_ERROR, priority, sums, f"{error_type} is new: {sums.failures:,} times")
    yield from _slow(tool_name, uses, recent, now, left_alone)


def _new_errors(uses: Sequence[Uses], recent_calls: int, now: datetime) -> Iterable[tuple[str, _Sum]]:
    """Yield the error types that were not there before, though there were calls enough to show them."""
    earlier = [one for one in uses if not one.recent]
    before = sum(one.calls for one in earlier)
    known = {one.error_type for one in earlier if one.failures}
    for error_type in sorted({one.error_type for one in uses if one.recent and one.current and one.failures} - known):
        sums = _Sum.of((one for one in uses if one.recent and one.current and one.error_type == error_type), now)
        rate = min(1.0, sums.failures / recent_calls) if recent_calls else 0.0
        if sums.failures >= _FEWEST_NEW and before and binomial_cdf(before, rate, 0) <= _SURELY_NEW:
            yield error_type or "a failure without a type", sums


def _slow(
    tool_name: str, uses: Sequence[Uses], recent: _Sum, now: datetime, left_alone: LeftAlone | None
) -> Iterable[Opportunity]:
    """Yield that the tool takes too long: longer than it should, or than it used to."""
    earlier = _Sum.of((one for one in uses if not one.recent), now)
    if recent.timed < _FEWEST_TIMED:
        return
    limit, against = _SLOW_MS, "5 s"
    if earlier.timed >= _FEWEST_TIMED and 0 < _SLOWER * earlier.mean_ms < _SLOW_MS:
        limit, against = _SLOWER * earlier.mean_ms, f"{earlier.mean_ms:,.0f} ms before"
    if recent.mean_ms <= limit:
        return
    usual = limit / _SLOWER if limit < _SLOW_MS else limit
    seconds = (recent.mean_ms - usual) / 1000 * recent.timed / recent.days
    priority = Priority.HIGH if recent.mean_ms > 2 * limit else Priority.MEDIUM
    reason, why = f"{recent.mean_ms:,.0f} ms a call, against {against}", left_alone or LeftAlone.UNPROVABLE
    yield Opportunity(tool_name, OpportunityKind.SLOW, priority, 0.0, seconds, why, reason)
