"""Backtest candidate rules on past deployments: when they would have rolled back, compared with what happened."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from rollguard.errors import UnknownSession
from rollguard.evaluate.false_alarm_risk import WORK, Risk, false_alarm
from rollguard.evaluate.replay_history import MINUTE, History, Replayed, replay_history
from rollguard.judge import MOST_OUTCOMES, PATTERN, Confounders, Outcome, Rules, Window
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import Rollout
from rollguard.model.session import Session
from rollguard.monitor.confounders import confounders_of
from rollguard.store import ExecutionStore
from rollguard.store.rollups.selection import baseline_of, replayed_of

_BATCH = 100  # sessions whose minutes are read by one statement
_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)
_TINY = timedelta(microseconds=1)
_TOTAL_WORK = 60_000_000  # steps for the false alarms of all tools together: about ten seconds
_LEAST_WORK = 60_000
_BASELINE = (  # rules that shape a baseline
    *("baseline", "baseline_counts", "baseline_window_days", "caller_errors", "collapse_retries"),
)
_SAME_HOURS = ("monitoring_window_hours", "decision")  # rules that shape a baseline of the same hours too


class Compared(StrEnum):
    """What would have happened, compared with what happened."""

    SAME = "same"
    EARLIER = "earlier"
    LATER = "later"
    ADDED = "added"
    MISSED = "missed"
    NEITHER = "neither"
    NOT_SEEN = "not_seen"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One past deployment under the candidate rules.

    Attributes:
        rollback: the rollback that was decided for it; None if there was none.
        rules: the candidate.
        seen_until: until when the candidate could have checked it.
        calls: known executions from the deployment until then.
        replayed: what the candidate would have decided.
        rollout: the latest rollout or confirmation of its session, if there was one. The replay then counts the new
            version's calls alone, as if it had replaced the other version.
        compared: `replayed` compared with what happened. `same` is within one check of the schedule. `not_seen` means
            that its executions end before the candidate decides, so the result is unknown.
    """

    session: Session
    rollback: Rollback | None
    rules: Rules
    seen_until: datetime
    calls: int
    replayed: Replayed
    compared: Compared
    rollout: Rollout | None = None

    @property
    def decided_at(self) -> datetime | None:
        """Return when a rule decided a rollback in fact; None if none did."""
        automatic = self.rollback is not None and self.rollback.rollback_type != "manual"
        return _decided(self.rollback) if automatic and self.rollback is not None else None

    @property
    def happened(self) -> str:
        """Return what happened to it: rolled_back, healthy, unproven, superseded, observed, …"""
        if self.rollback is not None and self.session.status != "rolled_back" and self.decided_at is not None:
            return self.rollback.state
        return self.session.outcome or self.session.status


@dataclass(frozen=True, slots=True)
class ToolRisk:
    """The probability that rules roll back an unchanged version of one tool within one session.

    Attributes:
        failure_rate: median failure rate of its baselines.
        baseline_calls: median number of calls of its baselines.
        calls_per_look: calls between two checks of the schedule.
        candidate, present: the risk under the candidate, and under the present settings.
    """

    tool_name: str
    deployments: int
    failure_rate: float
    baseline_calls: int
    calls_per_look: float
    candidate: Risk
    present: Risk


def backtest(
    store: ExecutionStore,
    rules_for: Callable[[str], Rules],
    *,
    every: timedelta,
    now: datetime,
    tool_name: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
    advance: Callable[[float], object] = lambda _share: None,
) -> list[Deployment]:
    """Replay past deployments under candidate rules.

    Counts are known to the minute, from the rollups, which Rollguard keeps for ever. Triggers need the executions
    themselves, and are left out if these were removed. `mode`, `max_rollbacks_per_day`, `rollout` and `confirm` have no
    effect: nobody knows what the other version would have answered.

    Args:
        rules_for: returns the candidate for a tool's name.
        every: time between two checks of the schedule, counted from the deployment.
        now: the present time; later executions do not count.
        tool_name: replay only the deployments of this tool.
        since: replay only deployments from this time on.
        limit: replay only this number of deployments, the newest.
        advance: called with the share that is done, from 0 to 1.

    Returns:
        The deployments, newest first.

    Raises:
        UnknownSession: there is no deployment to replay.
        StoreUnavailable: the database cannot be reached.
    """
    known = store.sessions.recent(tool_name=tool_name)
    sessions = [s for s in known if since is None or s.deployment_time >= since][:limit]
    if not sessions:
        raise UnknownSession(_why_none(tool_name, since, bool(known)))
    rollbacks = {r.session_id: r for r in store.rollbacks.recent(tool_name=tool_name) if r.session_id is not None}
    replaying = _Replaying(store, rules_for, every, now, rollbacks, _next_deployments(known))
    deployments: list[Deployment] = []
    for number in range(0, len(sessions), _BATCH):
        for deployment in replaying.batch(sessions[number : number + _BATCH]):
            deployments.append(deployment)
            advance(len(deployments) / len(sessions))
    return deployments


def summary(deployments: Sequence[Deployment]) -> dict[str, int]:
    """Count the deployments of each result in `Compared`; 0 if there are none."""
    counts = Counter(deployment.compared for deployment in deployments)
    return {kind.value: counts[kind] for kind in Compared}


def false_alarms(
    deployments: Sequence[Deployment],
    present: Callable[[str], Rules],
    *,
    every: timedelta,
    advance: Callable[[float], object] = lambda _share: None,
) -> list[ToolRisk]:
    """Return the risk of the candidate and of the present settings for each tool with a baseline, the largest first.

    The risk is exact if this takes at most some seconds for all tools together, see
    `rollguard.evaluate.false_alarm_risk`.

    Args:
        deployments: as `backtest` returned them.
        present: returns the present rules for a tool's name.
        every: time between two checks of the schedule.
        advance: called with the share that is done, from 0 to 1.
    """
    by_tool: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        by_tool.setdefault(deployment.session.tool_name, []).append(deployment)
    work = min(WORK, max(_LEAST_WORK, _TOTAL_WORK // (2 * len(by_tool) or 1)))
    risks = []
    for number, (name, own) in enumerate(by_tool.items(), start=1):
        risk = _risk(name, own, present(name), every, work)
        if risk is not None:
            risks.append(risk)
        advance(number / len(by_tool))
    return sorted(risks, key=lambda risk: (-risk.candidate.probability, risk.tool_name))


def _risk(name: str, deployments: Sequence[Deployment], present: Rules, every: timedelta, work: int) -> ToolRisk | None:
    baselines = [d.replayed.baseline for d in deployments]
    known = [window for window in baselines if window.total]
    if not known:
        return None
    hours = [(d.calls, (d.seen_until - d.session.deployment_time) / _HOUR) for d in deployments]
    hourly = [calls / length for calls, length in hours if length >= 1]  # a shorter time is not representative
    if not hourly:
        hourly = [window.total / (24 * deployments[0].rules.baseline_window_days) for window in known]
    rate = statistics.median(window.failures / window.total for window in known)
    before = int(statistics.median(window.total for window in known))
    per_hour = statistics.median(hourly)
    candidate = deployments[0].rules

    def of(rules: Rules) -> Risk:
        days = rules.baseline_window_days / candidate.baseline_window_days
        hours = rules.monitoring_window_hours
        checks = max(1, math.floor(hours * _HOUR / every))
        return false_alarm(rules, round(before * days), rate, round(per_hour * hours), checks, work=work)

    per_check = per_hour * (every / _HOUR)
    return ToolRisk(name, len(deployments), rate, before, per_check, of(candidate), of(present))


# --- replaying -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Replaying:
    store: ExecutionStore
    rules_for: Callable[[str], Rules]
    every: timedelta
    now: datetime
    rollbacks: dict[int, Rollback]
    next_deployments: dict[int, datetime]  # by session

    def batch(self, sessions: Sequence[Session]) -> Iterator[Deployment]:
        """Replay some sessions, with a few statements for all of them."""
        candidates = self.store.baselines.of([self._candidate(session) for session in sessions], self.now)
        ends = [self._seen_until(session) for session in candidates]
        baselines = self._baselines(candidates, ends)
        parts = [replayed_of(session, end) for session, end in zip(candidates, ends, strict=True)]
        rollouts = self.store.rollouts.of_sessions([session.session_id for session in sessions])
        durations = any(session.rules.rollback_on_slowdown for session in candidates)
        early = self.store.executions.count([early for early, _rest in parts])
        minutes = self.store.executions.by_minute([rest for _early, rest in parts], durations=durations)
        for session, end, baseline, before, series in zip(candidates, ends, baselines, early, minutes, strict=True):
            rollback = self.rollbacks.get(session.session_id)
            scheduled = rollback is not None and rollback.rollback_type in ("threshold", "slowdown")
            checked = session.status == "active" or (session.status == "rolled_back" and scheduled)
            clock_behind = before if durations else Window(before.total, before.successes)
            history = History(session.deployment_time, end, checked, series, baseline, clock_behind, session.left_out)
            yield replace(self._replay(session, history), rollout=rollouts.get(session.session_id))

    def _candidate(self, session: Session) -> Session:
        rules = self.rules_for(session.tool_name)
        shaping = _BASELINE if rules.baseline == "before" else (*_BASELINE, *_SAME_HOURS)
        shaping = (*shaping, "min_executions") if session.left_out and session.left_out.anything else shaping
        kept = all(getattr(rules, name) == getattr(session.rules, name) for name in shaping)
        return replace(session, rules=rules) if kept else replace(session, rules=rules, baseline=None, left_out=None)

    def _seen_until(self, session: Session) -> datetime:
        """Return until when its version was live without interference; later executions do not count for it."""
        end = min(self.now, session.last_end)
        rollback = self.rollbacks.get(session.session_id)
        if session.status == "rolled_back" and rollback is not None:
            end = min(end, _decided(rollback))
        elif session.status != "completed":
            end = min(end, session.completed_at or end)
        elif session.completed_at is not None and end > session.completed_at:
            lives = self.store.versions.deployments(session.tool_name)
            after = [life.deployed_at for life in lives if life.deployed_at > session.deployment_time]
            end = min(end, max(session.completed_at, min(after, default=end)))
        return max(session.deployment_time, min(end, self.next_deployments.get(session.session_id, end)))

    def _baselines(self, sessions: Sequence[Session], ends: Sequence[datetime]) -> list[list[tuple[datetime, Window]]]:
        """Return (since when it counts, baseline) for each; with `same_hours` a baseline for each hour."""
        times = [list(_baseline_times(session, end)) for session, end in zip(sessions, ends, strict=True)]
        wanted = [
            baseline_of(session, until)
            for session, own in zip(sessions, times, strict=True)
            for _since, until in own
            if session.baseline is None
        ]
        counted = iter(self.store.executions.count(wanted))
        return [
            [(since, session.baseline or next(counted)) for since, _until in own]
            for session, own in zip(sessions, times, strict=True)
        ]

    def _replay(self, session: Session, history: History) -> Deployment:
        replayed = replay_history(
            history,
            session.rules,
            self.every,
            outcomes=partial(self._outcomes, session, history),
            confounders=partial(self._confounders, session),
        )
        rollback = self.rollbacks.get(session.session_id)
        compared = self._compared(session, rollback, history, replayed)
        return Deployment(
            session, rollback, session.rules, history.end(session.rules), history.calls, replayed, compared
        )

    def _outcomes(self, session: Session, history: History, at: datetime) -> Sequence[Outcome] | None:
        """Return the executions to search for triggers; None if they are no longer stored."""
        start = at - PATTERN
        rows = self.store.executions.latest(session, start, at - _TINY, MOST_OUTCOMES)
        first = start.replace(second=0, microsecond=0) + MINUTE
        counted = sum(window.total for minute, window in history.minutes if first <= minute and minute + MINUTE <= at)
        return [Outcome(*row) for row in rows] if len(rows) >= min(counted, MOST_OUTCOMES) else None

    def _confounders(self, session: Session, at: datetime, baseline: Window, current: Window) -> Confounders:
        return confounders_of(self.store, session, baseline, current, at)

    def _compared(self, session: Session, rollback: Rollback | None, history: History, replayed: Replayed) -> Compared:
        automatic = rollback is not None and rollback.rollback_type != "manual"
        decided = _decided(rollback) if automatic and rollback is not None else None
        if replayed.at is not None:
            if decided is None:
                return Compared.ADDED
            if abs(replayed.at - decided) <= max(self.every, MINUTE):
                return Compared.SAME
            return Compared.EARLIER if replayed.at < decided else Compared.LATER
        whole = history.seen_until >= session.window_end
        if decided is None:
            return Compared.NEITHER if whole else Compared.NOT_SEEN
        return Compared.MISSED if whole else Compared.NOT_SEEN


def _decided(rollback: Rollback) -> datetime:
    return rollback.claimed_at or rollback.rollback_time


def _baseline_times(session: Session, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield (from when, up to which check) of each baseline: one, but with `same_hours` one for each hour."""
    deployed = session.deployment_time
    if session.rules.baseline == "before" or session.rules.decision == "evidence":
        yield deployed, end
        return
    yield deployed, deployed + _HOUR
    following = (deployed + _HOUR).replace(minute=0, second=0, microsecond=0)
    while following < min(end, deployed + _WEEK):
        if following >= deployed + _HOUR:
            yield following + _TINY, following + _HOUR
        following += _HOUR


def _next_deployments(sessions: Sequence[Session]) -> dict[int, datetime]:
    """Return the next monitored deployment of the same tool, by session; sessions come newest first."""
    found: dict[int, datetime] = {}
    latest: dict[str, datetime] = {}
    for session in sessions:
        if session.tool_name in latest:
            found[session.session_id] = latest[session.tool_name]
        latest[session.tool_name] = session.deployment_time
    return found


def _why_none(tool_name: str | None, since: datetime | None, known: bool) -> str:
    if known and since is not None:
        return f"no deployment since {since.isoformat()} was watched; give an earlier time"
    if tool_name is not None:
        return (
            f"{tool_name} has no monitoring session: no deployment of it was ever watched; "
            "list the tools with: rollguard tools"
        )
    return "no deployment was ever watched, so there is nothing to replay; deploy a tool with: rollguard deploy"
