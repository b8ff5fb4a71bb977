"""The rules on a stream of calls, from its counts alone: fast, and blind to what happens to other tools."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.traffic import DAY, HOUR, Call, calls_of
from rollguard.judge import MOST_OUTCOMES, PATTERN, Counts, Outcome, Rules, Window, judge, may_act
from rollguard.judge.binomial import clopper_pearson_upper
from rollguard.judge.histogram import bucket_of
from rollguard.judge.triggers import IN_A_ROW

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)  # of the deployments; a time long past, so that none lies in the future
NOT_BY_COUNTS = ("baseline", "collapse_retries", "extend_until_sufficient")  # rules that are not played


class Counted:
    """Counts of calls where those that belong to one request count once, with the last outcome."""

    def __init__(self, rules: Rules) -> None:
        self.total = self.failures = 0
        self._not_counted, self._with_durations = rules.caller_errors, rules.rollback_on_slowdown
        self._latest: dict[int, Call] = {}
        self._sum_ms, self._buckets = 0.0, Counter[int]()

    def add(self, call: Call) -> None:
        """Count one more call."""
        if call.request is not None:
            before = self._latest.get(call.request)
            if before is not None:
                self._count(before, -1)
            self._latest[call.request] = call
        self._count(call, 1)

    @property
    def window(self) -> Window:
        """What is counted so far; durations where they decide anything."""
        if not self._with_durations:
            return Window(self.total, self.total - self.failures)
        buckets = tuple(sorted((bucket, number) for bucket, number in self._buckets.items() if number))
        return Window(self.total, self.total - self.failures, self.total, max(0.0, self._sum_ms), buckets)

    def _count(self, call: Call, number: int) -> None:
        if call.error_type in self._not_counted:
            return
        self.total += number
        self.failures += 0 if call.succeeded else number
        if self._with_durations:
            self._sum_ms += number * call.duration_ms
            self._buckets[bucket_of(call.duration_ms)] += number


@dataclass(frozen=True, slots=True)
class Act:
    """A rollback: when, in seconds after the deployment, and after how many calls."""

    at: float
    calls: int


def replay(calls: Sequence[Call], rules: Rules, *, every: float, until: float) -> Act | None:
    """When the rules roll the deployment back, looked at every `every` seconds; None where they do not.

    Args:
        calls: of one tool, in the order of time.
    """
    before, after = Counted(rules), Counted(rules)
    for call in calls[: bisect_left(calls, 0.0, key=_at)]:
        if call.at >= -rules.baseline_window_days * DAY:
            before.add(call)
    baseline = before.window
    number = first = bisect_left(calls, 0.0, key=_at)
    look = every
    while look <= until:
        while number < len(calls) and calls[number].at <= look:
            after.add(calls[number])
            number += 1
        latest = calls[max(first, bisect_left(calls, look - PATTERN.total_seconds(), key=_at)) : number]
        triggered = sum(not call.succeeded for call in latest) >= IN_A_ROW
        counts = Counts(baseline.total, baseline.failures, after.total, after.failures)
        if may_act(rules, counts, scheduled=True, trigger=triggered):
            found = judge(baseline, after.window, rules, outcomes=partial(_outcomes, latest, rules))
            if found.needs_rollback:
                return Act(look, after.total)
        look += every
    return None


def _at(call: Call) -> float:
    return call.at


def _outcomes(calls: Sequence[Call], rules: Rules) -> list[Outcome]:
    """The outcomes that the monitor would read: of a request that was tried again, the last one."""
    last = {call.request: number for number, call in enumerate(calls) if call.request is not None}
    counted = [
        Outcome(NOON + timedelta(seconds=call.at), call.succeeded, call.error_type)
        for number, call in enumerate(calls)
        if call.error_type not in rules.caller_errors and (call.request is None or last[call.request] == number)
    ]
    return counted[-MOST_OUTCOMES:]


@dataclass(frozen=True, slots=True)
class Rollbacks:
    """What became of the deployments of a scenario.

    Attributes:
        deployments: how many there were.
        worse: how many of them became worse at some time.
        wrong: how many were rolled back although, until then, nothing was worse than before.
        delays: of those that were rolled back rightly, each delay in seconds after it became worse.
        calls: of the same, each number of calls since the deployment.
    """

    deployments: int
    worse: int
    wrong: int
    delays: tuple[float, ...]
    calls: tuple[int, ...]

    @classmethod
    def of(cls, scenario: Scenario, acts: Iterable[Act | None]) -> Self:
        """Tell the right rollbacks from the wrong ones, given those of tool after tool, in run after run."""
        every = list(acts)
        tools = [scenario.of_tool(number % scenario.tools).worse_from for number in range(len(every))]
        since = [math.inf if hours is None else hours * HOUR for hours in tools]
        made = [(act, worse) for act, worse in zip(every, since, strict=True) if act is not None]
        right = [(act, worse) for act, worse in made if act.at >= worse]
        return cls(
            deployments=len(every),
            worse=sum(hours is not None for hours in tools),
            wrong=len(made) - len(right),
            delays=tuple(sorted(act.at - worse for act, worse in right)),
            calls=tuple(sorted(act.calls for act, _ in right)),
        )

    @property
    def right(self) -> int:
        """How many were rolled back after they had become worse."""
        return len(self.delays)


def interval(count: int, total: int) -> tuple[float, float]:
    """The exact 95 % confidence interval of a share (Clopper & Pearson)."""
    return 1.0 - clopper_pearson_upper(total, total - count, 0.025), clopper_pearson_upper(total, count, 0.025)


def within(ordered: Sequence[float], share: float) -> float | None:
    """The value that this share of them does not exceed; None of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def play(scenario: Scenario, rules: Rules, *, runs: int, every: float) -> Iterator[Act | None]:
    """`replay` of each tool in each run of the scenario."""
    until = scenario.traffic.watched_hours * HOUR
    for run in range(runs):
        for tool in range(scenario.tools):
            yield replay(calls_of(scenario, tool, run), rules, every=every, until=until)
