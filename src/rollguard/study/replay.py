"""The rules on a stream of calls, from its counts alone: fast, and blind to what happens to other tools."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from rollguard.judge import Evidence, Rules
from rollguard.judge.binomial import clopper_pearson_upper
from rollguard.study.lines import IN_A_ROW, SOONER_CALLS, SOONER_DROP, Decision
from rollguard.study.scenario import Scenario
from rollguard.study.streams import DAY, HOUR, Call, calls_of

_RUN_SECONDS = 300.0  # within which failures in a row are a trigger


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known at one look.

    Attributes:
        at: when, in seconds after the deployment.
        calls, failures: since the deployment; a request that was tried again counts once, with its last outcome.
        run: whether calls failed `IN_A_ROW` times in a row, in five minutes, since the look before.
    """

    at: float
    calls: int
    failures: int
    run: bool


class Counted:
    """Counts of calls where those that belong to one request count once, with the last outcome."""

    def __init__(self) -> None:
        self.calls = self.failures = 0
        self._failed: dict[int, bool] = {}

    def add(self, call: Call) -> None:
        """Count one more call."""
        if call.request is None:
            self.calls, self.failures = self.calls + 1, self.failures + (not call.succeeded)
            return
        before = self._failed.get(call.request)
        self._failed[call.request] = not call.succeeded
        self.calls += before is None
        self.failures += (not call.succeeded) - bool(before)


def baseline_of(calls: Iterable[Call], days: float) -> Counted:
    """The counts of the calls in the days before the deployment."""
    counted = Counted()
    for call in calls:
        if -days * DAY <= call.at < 0.0:
            counted.add(call)
    return counted


def tallies(calls: Sequence[Call], every: float, until: float) -> Iterator[Tally]:
    """What is known at each look, one every `every` seconds."""
    counted, latest = Counted(), deque[float](maxlen=IN_A_ROW)
    following = iter([call for call in calls if call.at >= 0.0])
    call = next(following, None)
    look = every
    while look <= until:
        run = False
        while call is not None and call.at <= look:
            counted.add(call)
            if call.succeeded:
                latest.clear()
            else:
                latest.append(call.at)
                run = run or (len(latest) == IN_A_ROW and latest[-1] - latest[0] <= _RUN_SECONDS)
            call = next(following, None)
        yield Tally(look, counted.calls, counted.failures, run)
        look += every


def acts(decision: Decision, test: Evidence, tally: Tally, rules: Rules, *, triggers: bool = True) -> bool:
    """Whether a rule rolls back at these counts; the same as `rollguard.study.lines` draws, for one look."""
    if test.baseline_calls < rules.min_executions:
        return False
    dropped = _fell_by(rules.threshold, rules.min_executions, test, tally)
    run = triggers and tally.run
    if decision is Decision.THRESHOLD:
        return dropped or (run and test.present(tally.calls, tally.failures))
    sooner = dropped or run or _fell_by(max(SOONER_DROP, rules.threshold), SOONER_CALLS, test, tally)
    return sooner and test.present(tally.calls, tally.failures)


def _fell_by(drop: Fraction, least_calls: int, test: Evidence, tally: Tally) -> bool:
    a, b, nb = drop.numerator, drop.denominator, test.baseline_calls
    return tally.calls >= least_calls and tally.failures * nb * b >= tally.calls * (test.baseline_failures * b + a * nb)


@dataclass(frozen=True, slots=True)
class Act:
    """A rollback: when, in seconds after the deployment, and after how many calls."""

    at: float
    calls: int


def replay(
    calls: Sequence[Call], decision: Decision, rules: Rules, *, every: float, until: float, triggers: bool = True
) -> Act | None:
    """When the rule rolls the deployment back, looked at every `every` seconds; None where it does not."""
    before = baseline_of(calls, rules.baseline_window_days)
    test = Evidence(before.calls, before.failures, rules.alpha, rules.delta)
    for tally in tallies(calls, every, until):
        if acts(decision, test, tally, rules, triggers=triggers):
            return Act(tally.at, tally.calls)
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
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


def play(
    scenario: Scenario, decision: Decision, rules: Rules, *, runs: int, every: float, triggers: bool = True
) -> Iterator[Act | None]:
    """`replay` of each tool in each run of the scenario."""
    until = scenario.traffic.watched_hours * HOUR
    for run in range(runs):
        for tool in range(scenario.tools):
            calls = calls_of(scenario, tool, run)
            yield replay(calls, decision, rules, every=every, until=until, triggers=triggers)
