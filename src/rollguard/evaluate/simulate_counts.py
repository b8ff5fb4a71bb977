"""Simulate the rules on a stream of calls from its counts alone: fast, but without confounders."""

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
from rollguard.judge.baseline import Times
from rollguard.judge.binomial import clopper_pearson_upper
from rollguard.judge.histogram import bucket_of
from rollguard.judge.outages import affected_minutes, outages, suspicious_hours, usual_rate, witnesses
from rollguard.judge.triggers import IN_A_ROW

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)  # the time of the deployments; in the past, so that none is in the future
NOT_BY_COUNTS = (
    "baseline",
    "collapse_retries",
    "extend_until_sufficient",
    "rollout",
    "confirm",
)  # rules that have no effect here


class Counted:
    """Counts calls. Calls of one request count once, with the last outcome."""

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
        """Return the counts so far, with durations only if the rules use them."""
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
    """A rollback: its time in seconds after the deployment, and the number of calls until then."""

    at: float
    calls: int


def replay(
    calls: Sequence[Call], rules: Rules, *, every: float, until: float, left_out: Sequence[Times] = ()
) -> Act | None:
    """Return the rollback of the deployment under the rules; None if they do not roll it back.

    Args:
        calls: the calls of one tool, in the order of time.
        every: seconds between two checks.
        until: seconds from the deployment to the end of the session.
        left_out: the minutes before the deployment in which other tools showed an outage.
    """
    before, after = Counted(rules), Counted(rules)
    for call in calls[: bisect_left(calls, 0.0, key=_at)]:
        if call.at >= -rules.baseline_window_days * DAY and not any(a <= _moment(call.at) < b for a, b in left_out):
            before.add(call)
    baseline = before.window
    number = first = bisect_left(calls, 0.0, key=_at)
    now = every
    while now <= until:
        while number < len(calls) and calls[number].at <= now:
            after.add(calls[number])
            number += 1
        latest = calls[max(first, bisect_left(calls, now - PATTERN.total_seconds(), key=_at)) : number]
        triggered = sum(not call.succeeded for call in latest) >= IN_A_ROW
        counts = Counts(baseline.total, baseline.failures, after.total, after.failures)
        if may_act(rules, counts, scheduled=True, trigger=triggered):
            found = judge(baseline, after.window, rules, outcomes=partial(_outcomes, latest, rules))
            if found.needs_rollback:
                return Act(now, after.total)
        now += every
    return None


def _at(call: Call) -> float:
    return call.at


def _outcomes(calls: Sequence[Call], rules: Rules) -> list[Outcome]:
    """Return the outcomes that the monitor would read: of a request with retries, the last one."""
    last = {call.request: number for number, call in enumerate(calls) if call.request is not None}
    counted = [
        Outcome(NOON + timedelta(seconds=call.at), call.succeeded, call.error_type)
        for number, call in enumerate(calls)
        if call.error_type not in rules.caller_errors and (call.request is None or last[call.request] == number)
    ]
    return counted[-MOST_OUTCOMES:]


@dataclass(frozen=True, slots=True)
class Rollbacks:
    """The results of a scenario.

    Attributes:
        deployments: number of deployments.
        worse: number of deployments that became worse at some time.
        wrong: number of deployments that were rolled back before they became worse.
        delays: seconds from becoming worse to the rollback, of each right rollback, rising.
        calls: calls from the deployment to the rollback, of each right rollback, rising.
    """

    deployments: int
    worse: int
    wrong: int
    delays: tuple[float, ...]
    calls: tuple[int, ...]

    @classmethod
    def of(cls, scenario: Scenario, acts: Iterable[Act | None]) -> Self:
        """Count the right and the wrong rollbacks, given those of each tool in each run, in this order."""
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
        """Return the number of deployments that were rolled back after they became worse."""
        return len(self.delays)


def interval(count: int, total: int) -> tuple[float, float]:
    """Return the exact 95 % confidence interval of the share `count / total` (Clopper & Pearson)."""
    return 1.0 - clopper_pearson_upper(total, total - count, 0.025), clopper_pearson_upper(total, count, 0.025)


def within(ordered: Sequence[float], share: float) -> float | None:
    """Return the quantile: the value that this share of them does not exceed; None without values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def play(scenario: Scenario, rules: Rules, *, runs: int, every: float) -> Iterator[Act | None]:
    """Yield the result of `replay` for each tool in each run of the scenario."""
    until = scenario.traffic.watched_hours * HOUR
    begins = NOON - timedelta(days=rules.baseline_window_days)
    for run in range(runs):
        affected = _affected(scenario, rules, run)
        for tool in range(scenario.tools):
            shown = outages(affected, str(tool), begins, NOON)
            yield replay(calls_of(scenario, tool, run), rules, every=every, until=until, left_out=shown)


def _affected(scenario: Scenario, rules: Rules, run: int) -> dict[str, list[Times]]:
    """Return when each tool failed more than usual before the deployment, as the monitor finds it."""
    if scenario.outage is None or scenario.outage.after_hours >= 0 or rules.baseline_counts == "contract":
        return {}
    asked = witnesses(range(scenario.tools))
    return {str(tool): _affected_minutes(calls_of(scenario, tool, run), len(asked)) for tool in asked}


def _affected_minutes(calls: Sequence[Call], asked: int) -> list[Times]:
    before = calls[: bisect_left(calls, 0.0, key=_at)]
    hours, minutes = _series(before, HOUR), _series(before, 60.0)
    usual = usual_rate(hours)
    found = [
        affected_minutes([(start, window) for start, window in minutes if a <= start < b], usual)
        for a, b in suspicious_hours(hours, asked)
    ]
    return [times for times in found if times is not None]


def _series(calls: Sequence[Call], step: float) -> list[tuple[datetime, Window]]:
    """Return the calls of each minute or hour."""
    total: Counter[float] = Counter(call.at // step for call in calls)
    succeeded: Counter[float] = Counter(call.at // step for call in calls if call.succeeded)
    return [(_moment(step * number), Window(total[number], succeeded[number])) for number in sorted(total)]


def _moment(at: float) -> datetime:
    return NOON + timedelta(seconds=at)
