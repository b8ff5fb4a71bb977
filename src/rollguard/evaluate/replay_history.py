"""A past deployment under other rules: when they would have rolled it back, from its counts minute by minute.

What is told minute by minute is known to the minute: a look sees the minutes that were over by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollguard.judge import PATTERN, Confounders, Counts, Judgement, Outcome, Rules, Verdict, Window, judge, may_act
from rollguard.judge.triggers import IN_A_ROW

MINUTE = timedelta(minutes=1)

_NONE = Window()

Outcomes = Callable[[datetime], "Sequence[Outcome] | None"]
FindConfounders = Callable[[datetime, Window, Window], Confounders]


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a past deployment.

    Attributes:
        deployed: when it was.
        seen_until: until when its executions are to be had: now, or the end of its version's time.
        looked_at_end: whether the schedule looked at it at `seen_until`.
        minutes: (when the minute begins, its executions), the oldest first; those without any may be left out.
        baselines: (since when it counts, what was before the deployment); but for `same_hours` there is one.
        before: executions of the deployed version whose clock was behind.
    """

    deployed: datetime
    seen_until: datetime
    looked_at_end: bool
    minutes: Sequence[tuple[datetime, Window]]
    baselines: Sequence[tuple[datetime, Window]]
    before: Window = _NONE

    def end(self, rules: Rules) -> datetime:
        """Until when these rules could have looked at it."""
        longest = rules.monitoring_window_hours + rules.extend_until_sufficient
        return min(self.seen_until, self.deployed + timedelta(hours=longest))

    def baseline(self, at: datetime) -> Window:
        """What it was compared with at that time."""
        return [window for since, window in self.baselines if since <= at or since == self.baselines[0][0]][-1]

    @property
    def calls(self) -> int:
        """Executions that are known since the deployment."""
        return self.before.total + sum(window.total for _start, window in self.minutes)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What rules would have decided.

    Attributes:
        at: when they would have rolled it back; None where they would not, as far as is known.
        baseline, current: what was counted by then; without a rollback what was known in the end.
        decision: the judgement that calls for the rollback.
        held_since: since when a rollback waited because something else explained the failures.
        triggers_known: False where triggers could not be looked for, as the executions themselves are not kept.
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
        """The decision; without one, what the numbers say."""
        return self.decision or judge(self.baseline, self.current, self.rules, scheduled=False)


def replay_history(
    history: History,
    rules: Rules,
    every: timedelta,
    *,
    outcomes: Outcomes | None = None,
    confounders: FindConfounders | None = None,
) -> Replayed:
    """The first rollback that the rules call for.

    Args:
        every: time between two looks of the schedule, from the deployment on; a minute or more.
        outcomes: the executions up to a time in which triggers are looked for; None of those that are not kept.
        confounders: what else happened, where the rules would act; asked where they hold a rollback for it.
    """
    return _Replay(history, rules, max(every, MINUTE), outcomes, confounders).run()


def looks(history: History, rules: Rules, every: timedelta) -> Iterator[tuple[datetime, bool]]:
    """(when, whether by the schedule) of every look: at each step of the schedule, and after minutes with calls."""
    end = history.end(rules)
    whole = history.deployed + timedelta(hours=rules.monitoring_window_hours)
    over = history.deployed + timedelta(hours=rules.monitoring_window_hours + rules.extend_until_sufficient)
    scheduled = {end} if history.looked_at_end or end == over else set()
    scheduled |= {whole} if whole <= end else set()
    step = history.deployed + every
    while step < end:
        scheduled.add(step)
        step += every
    arrivals = {end, *(min(end, start + MINUTE) for start, _window in history.minutes)}
    if not rules.looks_at_every_arrival:
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
        self.read = 0  # minutes that are counted so far
        self.total, self.failures = history.before.total, history.before.failures
        self.recent: list[tuple[datetime, int]] = []  # (minute, failures), where there were some
        self._window, self._summed = history.before, 0

    def run(self) -> Replayed:
        history, rules = self.history, self.rules
        end = history.end(rules)
        whole = history.deployed + timedelta(hours=rules.monitoring_window_hours)
        seen: tuple[int, bool, Window] | None = None
        for at, scheduled in looks(history, rules, self.every):
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
        """What is counted so far."""
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
        """The judgement, if there can be anything to act upon."""
        counts = Counts(baseline.total, baseline.failures, self.total, self.failures)
        triggered = self._may_trigger(at)
        if not may_act(self.rules, counts, scheduled=scheduled, trigger=triggered):
            return None
        around = self.confounders if self.rules.holds_on_external else None
        judgement = judge(
            baseline,
            self.current,
            self.rules,
            scheduled=scheduled,
            outcomes=(lambda: self._outcomes(at)) if triggered else None,
            confounders=None if around is None else lambda: around(at, baseline, self.current),
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
