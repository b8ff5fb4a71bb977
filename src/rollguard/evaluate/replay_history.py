"""Replay a past deployment under other rules, from its counts by the minute.

A check counts the minutes that had ended by then, so results are exact to the minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollguard.judge import (
    PATTERN,
    Confounders,
    Counts,
    Judgement,
    LeftOut,
    Outcome,
    Rules,
    Verdict,
    Window,
    judge,
    may_act,
)
from rollguard.judge.triggers import IN_A_ROW

MINUTE = timedelta(minutes=1)

_NONE = Window()

Outcomes = Callable[[datetime], "Sequence[Outcome] | None"]
FindConfounders = Callable[[datetime, Window, Window], Confounders]


@dataclass(frozen=True, slots=True)
class History:
    """The counts of a past deployment.

    Attributes:
        deployed: the time of the deployment.
        seen_until: until when its executions are available: now, or when its version was no longer live.
        checked_at_end: whether the schedule made a check at `seen_until`.
        minutes: (start of the minute, its executions), the oldest first; minutes without executions may be left out.
        baselines: (since when it applies, the baseline); only `same_hours` has more than one.
        before: executions of the deployed version that are dated before the deployment, because a clock was behind.
        left_out: what the baseline does not count.
    """

    deployed: datetime
    seen_until: datetime
    checked_at_end: bool
    minutes: Sequence[tuple[datetime, Window]]
    baselines: Sequence[tuple[datetime, Window]]
    before: Window = _NONE
    left_out: LeftOut | None = None

    def end(self, rules: Rules) -> datetime:
        """Return until when these rules could have checked it."""
        longest = rules.monitoring_window_hours + rules.extend_until_sufficient
        return min(self.seen_until, self.deployed + timedelta(hours=longest))

    def baseline(self, at: datetime) -> Window:
        """Return the baseline that applied at that time."""
        return [window for since, window in self.baselines if since <= at or since == self.baselines[0][0]][-1]

    @property
    def calls(self) -> int:
        """Return the number of known executions since the deployment."""
        return self.before.total + sum(window.total for _start, window in self.minutes)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What rules would have decided.

    Attributes:
        at: when they would have rolled it back; None if they would not, by the known executions.
        baseline, current: the counts at that time; without a rollback, the counts at the end.
        decision: the judgement that calls for the rollback; None without one.
        held_since: since when a rollback waited because confounders explained the failures; None if it never did.
        triggers_known: False if triggers could not be searched for, because the executions were removed.
    """

    at: datetime | None
    rules: Rules
    baseline: Window
    current: Window
    decision: Judgement | None
    held_since: datetime | None = None
    triggers_known: bool = True

    @property
    def judgement(self) -> Judgement:
        """Return the decision; without one, the judgement of the counts."""
        return self.decision or judge(self.baseline, self.current, self.rules, scheduled=False)


def replay_history(
    history: History,
    rules: Rules,
    every: timedelta,
    *,
    outcomes: Outcomes | None = None,
    confounders: FindConfounders | None = None,
) -> Replayed:
    """Return the first rollback that the rules call for.

    Args:
        every: time between two checks of the schedule, from the deployment on; at least a minute.
        outcomes: returns the latest executions up to a time, to search for triggers; None if they were removed.
        confounders: returns what else failed, called if the rules would act and hold rollbacks for it.
    """
    return _Replay(history, rules, max(every, MINUTE), outcomes, confounders).run()


def checks(history: History, rules: Rules, every: timedelta) -> Iterator[tuple[datetime, bool]]:
    """Yield (time, whether scheduled) of every check: at each step of the schedule, and after minutes with calls."""
    end = history.end(rules)
    whole = history.deployed + timedelta(hours=rules.monitoring_window_hours)
    over = history.deployed + timedelta(hours=rules.monitoring_window_hours + rules.extend_until_sufficient)
    scheduled = {end} if history.checked_at_end or end == over else set()
    scheduled |= {whole} if whole <= end else set()
    step = history.deployed + every
    while step < end:
        scheduled.add(step)
        step += every
    arrivals = {end, *(min(end, start + MINUTE) for start, _window in history.minutes)}
    if not rules.checks_every_arrival:
        arrivals = {end}
    yield from ((at, at in scheduled) for at in sorted(scheduled | arrivals) if at > history.deployed)


class _Replay:
    def __init__(
        self,
        history: History,
        rules: Rules,
        every: timedelta,
        outcomes: Outcomes | None,
        confounders: FindConfounders | None,
    ) -> None:
        self.history, self.rules, self.every = history, rules, every
        self.outcomes, self.confounders = outcomes, confounders
        self.held_since: datetime | None = None
        self.triggers_known = True
        self.read = 0  # minutes counted so far
        self.total, self.failures = history.before.total, history.before.failures
        self.recent: list[tuple[datetime, int]] = []  # (minute, failures) of minutes with failures
        self._window, self._summed = history.before, 0

    def run(self) -> Replayed:
        history, rules = self.history, self.rules
        end = history.end(rules)
        whole = history.deployed + timedelta(hours=rules.monitoring_window_hours)
        seen: tuple[int, bool, Window] | None = None
        for at, scheduled in checks(history, rules, self.every):
            self._read(at, last=at == end)
            baseline = history.baseline(at)
            state = (self.read, scheduled, baseline)
            if state != seen or self.held_since is not None:
                judgement = self._judged(at, baseline, scheduled=scheduled)
                if judgement is not None and judgement.needs_rollback:
                    return self._replayed(at, judgement)
            seen = state
            if at == whole < end and judge(baseline, self.current, rules).verdict is not Verdict.INSUFFICIENT_DATA:
                return self._replayed(at, None)
        return self._replayed(end, None)

    @property
    def current(self) -> Window:
        """Return the counts so far."""
        if self._summed < self.read:
            added = [window for _start, window in self.history.minutes[self._summed : self.read]]
            if any(window.histogram for window in added):
                self._window = sum(added, self._window)
            else:
                self._window = Window(self.total, self.total - self.failures)
            self._summed = self.read
        return self._window

    def _read(self, at: datetime, *, last: bool) -> None:
        minutes = self.history.minutes
        while self.read < len(minutes) and (last or minutes[self.read][0] + MINUTE <= at):
            start, window = minutes[self.read]
            self.total += window.total
            if window.failures:
                self.failures += window.failures
                self.recent.append((start, window.failures))
            self.read += 1

    def _replayed(self, at: datetime, decision: Judgement | None) -> Replayed:
        return Replayed(
            at=None if decision is None else at,
            rules=self.rules,
            baseline=self.history.baseline(at),
            current=self.current,
            decision=decision,
            held_since=self.held_since,
            triggers_known=self.triggers_known,
        )

    def _judged(self, at: datetime, baseline: Window, *, scheduled: bool) -> Judgement | None:
        """Return the judgement; None if the counts cannot call for a rollback."""
        counts = Counts(baseline.total, baseline.failures, self.total, self.failures)
        triggered = self._may_trigger(at)
        if not may_act(self.rules, counts, scheduled=scheduled, trigger=triggered):
            return None
        find = self.confounders if self.rules.holds_on_external else None
        judgement = judge(
            baseline,
            self.current,
            self.rules,
            scheduled=scheduled,
            left_out=self.history.left_out,
            outcomes=(lambda: self._outcomes(at)) if triggered else None,
            confounders=None if find is None else lambda: find(at, baseline, self.current),
        )
        if judgement.verdict is Verdict.EXTERNAL and self.held_since is None:
            self.held_since = at
        return judgement

    def _may_trigger(self, at: datetime) -> bool:
        self.recent = [(start, failures) for start, failures in self.recent if start + MINUTE > at - PATTERN]
        return sum(failures for _start, failures in self.recent) >= IN_A_ROW

    def _outcomes(self, at: datetime) -> Sequence[Outcome] | None:
        outcomes = self.outcomes(at) if self.outcomes is not None else None
        self.triggers_known = self.triggers_known and outcomes is not None
        return outcomes
