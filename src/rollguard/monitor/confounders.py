"""Find confounders in the store: what else happened while a tool failed. `rollguard.judge.confounders` tests them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property

from rollguard.judge import (
    Confounder,
    Confounders,
    Window,
    change_point,
    confounder_baseline,
    is_over,
    largest_excess,
    widened_interval,
    worst_interval,
)
from rollguard.judge.error_signatures import signature
from rollguard.model.execution import Failure
from rollguard.model.session import Session
from rollguard.store import ExecutionStore
from rollguard.store.rollups.selection import Selection, baseline_of, counted_by, since

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_OWN_FAULT = timedelta(minutes=10)  # a problem that begins so soon after the tool's own deployment is its own
_MOST_BY_MINUTE = 20  # other tools that are counted minute by minute
_FAILURES = 5_000  # failures of each side whose errors are compared
_MIN_SHARED = 2  # failures with the same error, on both sides
_WIDENED = timedelta(minutes=15)  # the most that a problem may reach beyond its failures
_LOOKBACKS = (_HOUR, 6 * _HOUR, _DAY, 7 * _DAY)  # intervals before a problem in which the tool may have been healthy
_MIN_HEALTHY_CALLS = 5  # calls that show that a tool was healthy

Times = tuple[datetime, datetime]


def confounders_of(
    store: ExecutionStore, session: Session, baseline: Window, current: Window, until: datetime
) -> Confounders:
    """Return the confounders of a deployment that is about to be rolled back."""
    return _ConfounderCheck(store, session, baseline, current, until).confounders()


class _ConfounderCheck:
    def __init__(
        self, store: ExecutionStore, session: Session, baseline: Window, current: Window, until: datetime
    ) -> None:
        self._store, self._session, self._until = store, session, until
        self._baseline, self._current = baseline, current
        self._deployed = session.deployment_time

    def confounders(self) -> Confounders:
        problem = self._problem()
        earlier = self._hour_before(None if problem is None else problem[0])
        affected: list[Confounder] = []
        explained: list[Times] = []
        rest = self._current
        if problem is not None or earlier is not None:
            # A problem that was there at the deployment and the failures after it are one problem.
            begun = earlier[1] if earlier is not None else problem[0] if problem is not None else self._deployed
            end = self._deployed if problem is None else problem[1]
            affected, explained = self._other_tools(begun, end)
            if explained:
                rest = rest.without(self._count(since_parts(self._session, explained)))
            elif problem is not None:
                shared, rest = self._shared_error(begun, end)
                affected = [*affected, *shared]
        baseline = self._baseline
        if earlier is not None:
            own = self._not_explained(earlier[0], explained)
            if own.is_affected:
                affected, baseline = [own, *affected], own.during
        return Confounders(tuple(affected), baseline, rest)

    # --- the tool itself --------------------------------------------------------------------------------------------

    def _problem(self) -> Times | None:
        """Return the interval since the deployment that holds the failures."""
        rate = self._baseline.rate
        if rate is None:
            return None
        edges = _edges(self._deployed, self._until + timedelta(microseconds=1))
        parts = [since(self._session, a, b) for a, b in edges]
        found = worst_interval(_series(self._store.executions.count(parts)), 1 - rate)
        return None if found is None else (edges[found[0]][0], edges[found[1] - 1][1])

    def _hour_before(self, begun: datetime | None) -> tuple[Confounder, datetime] | None:
        """Compare the last hour before the deployment with the baseline before it.

        Returns:
            The confounder, and when the tool began to fail. None if the tool did not fail more in that hour, or if that
            had ended when the problem since the deployment began.
        """
        hour = self._deployed - _HOUR
        edges = _edges(hour, self._deployed)
        times = [(self._session.baseline_begins, hour), *edges]
        before, *counted = self._store.executions.count([self._ours_before(a, b) for a, b in times])
        during = sum(counted, Window())
        confounder = Confounder("hour_before", self._session.tool_name, _plain(before), _plain(during))
        if before.rate is None or not confounder.is_affected:
            return None
        first, end = worst_interval(_series(counted), 1 - before.rate) or (0, len(edges))
        afterwards = sum(counted[end:], Window())
        if begun is not None:
            afterwards += self._count(since_parts(self._session, [(self._deployed, begun)]))
        return None if is_over(sum(counted[first:end], Window()), afterwards) else (confounder, edges[first][0])

    def _not_explained(self, earlier: Confounder, explained: Sequence[Times]) -> Confounder:
        """Return the hour before without the minutes in which other tools failed too."""
        hour = [(max(a, self._deployed - _HOUR), min(b, self._deployed)) for a, b in explained]
        parts = [selection for a, b in _merged(hour) for selection in self._ours_before(a, b)]
        return replace(earlier, during=earlier.during.without(_plain(self._count(parts))))

    def _ours_before(self, start: datetime, end: datetime) -> list[Selection]:
        return _clipped(_before(_with_outages(self._session)), start, min(end, self._deployed))

    def _healthy_interval(self, begun: datetime) -> Times | None:
        """Return the last interval with enough calls of the healthy tool before the problem, or None."""
        start = begun
        for length in _LOOKBACKS:
            start = max(begun - length, self._session.baseline_begins)
            ours = [*self._ours_before(start, begun), *since_parts(self._session, [(self._deployed, begun)])]
            if self._count(ours).total >= _MIN_HEALTHY_CALLS:
                return start, begun
        return None

    @cached_property
    def _names(self) -> list[str]:
        """Return the names of the other tools."""
        return [name for name in self._store.executions.tool_names() if name != self._session.tool_name]

    # --- other tools and versions -----------------------------------------------------------------------------------

    def _other_tools(self, start: datetime, end: datetime) -> tuple[list[Confounder], list[Times]]:
        """Return the tools and versions that fail more than before, and the times in which they do."""
        asked: list[str | None] = [*self._names]
        if self._session.version_number is not None:
            asked.append(None)
        windows = self._count_others(
            [(name, *self._before(start)) for name in asked]
            + [(name, self._affects_from(name, start), end) for name in asked]
        )
        worse = [
            (name, was, now)
            for name, was, now in zip(asked, windows[: len(asked)], windows[len(asked) :], strict=True)
            if was.rate is not None and now.rate is not None and now.rate < was.rate
        ]
        worse.sort(key=lambda found: found[2].failures, reverse=True)
        worse = worse[:_MOST_BY_MINUTE]
        healthy = self._healthy_interval(start) if worse else None
        latest = (
            self._count_others([(name, *healthy) for name, _before, _during in worse]) if healthy is not None else []
        )
        deployed = self._store.sessions.deployed_between(start - _DAY, self._until)
        affected, explained = [], []
        for number, (name, was, _now) in enumerate(worse):
            usual = confounder_baseline(was, latest[number]) if latest else was
            found = self._worst_of(name, was, self._affects_from(name, start), end)
            if found is None:
                continue
            times, begun, counted = found
            kind = "other_version" if name is None else "other_tool"
            confounder = Confounder(kind, name or self._session.tool_name, _plain(usual), _plain(counted), len(asked))
            if confounder.is_affected and not (name in deployed and self._own_fault(name, deployed[name], begun)):
                explained.append(times)
                affected.append(confounder)
        return affected, explained

    def _worst_of(
        self, name: str | None, before: Window, start: datetime, end: datetime
    ) -> tuple[Times, datetime, Window] | None:
        """Return the times of a confounder's problem, when it began, and the executions in it."""
        edges = _edges(start, end)
        counted = self._count_others([(name, a, b) for a, b in edges])
        usual = 1 - (before.rate or Fraction(0))
        found = worst_interval(_series(counted), usual)
        if found is None:
            return None
        begun = edges[found[0]][0]
        if begun == start:  # it may have begun earlier than this tool's problem
            earlier = _edges(start - _HOUR, start)
            series = [*self._count_others([(name, a, b) for a, b in earlier]), *counted[: found[1]]]
            longer = worst_interval(_series(series), usual)
            if longer is not None:
                begun = [*earlier, *edges][longer[0]][0]
        first, last = widened_interval(counted, found, _widened(edges))
        return (edges[first][0], edges[last - 1][1]), begun, sum(counted[slice(*found)], Window())

    def _own_fault(self, name: str, deployed: Sequence[datetime], begun: datetime) -> bool:
        """Return whether its own deployment began the problem: soon after it, or before the tool was healthy again."""
        latest = max((time for time in deployed if time - _MINUTE <= begun), default=None)
        if latest is None:
            return False
        successes = self._count_others([(name, latest, begun)])[0].successes if latest < begun else 0
        return begun <= latest + _OWN_FAULT or successes < _MIN_HEALTHY_CALLS

    def _affects_from(self, name: str | None, start: datetime) -> datetime:
        """Return since when it may be a confounder; other versions only since the deployment."""
        return start if name is not None else max(start, self._deployed)

    def _before(self, start: datetime) -> Times:
        return self._session.baseline_start, min(start, self._deployed)

    def _count_others(self, asked: Sequence[tuple[str | None, datetime, datetime]]) -> list[Window]:
        """Count executions of other tools. The name None means the other versions of this tool."""
        own, counted_so = self._session.tool_name, counted_by(self._session)
        version, out = self._session.version_number, self._session.left_out
        others = () if version is None else (version, *(out.every_version if out else ()))
        wanted: list[Sequence[Selection]] = []
        ours: dict[int, Sequence[Selection]] = {}
        for number, (name, a, b) in enumerate(asked):
            wanted.append([Selection(name or own, a, b, but=others if name is None else (), **counted_so)])
            # Since the deployment, executions without a version belong to the deployed version, not to another one.
            unnamed = Selection(own, max(a, self._deployed), b, only=0, **counted_so)
            if name is None and unnamed.start < b:
                ours[number] = [unnamed]
        counted = self._store.executions.count([*wanted, *ours.values()])
        for number, part in zip(ours, counted[len(wanted) :], strict=True):
            counted[number] = counted[number].without(part)
        return counted[: len(wanted)]

    # --- the same error in other tools ------------------------------------------------------------------------------

    def _shared_error(self, start: datetime, end: datetime) -> tuple[list[Confounder], Window]:
        """Return the error that other tools show too, more than before, and the current window without it."""
        executions = self._store.executions
        ours = _signatures(executions.failures_in(since_parts(self._session, [(start, end)]), _FAILURES))
        deployed = self._store.sessions.deployed_between(start - _HOUR, self._until)
        names = [other for other in self._names if other not in deployed]
        if not names or not ours:
            return [], self._current
        during = executions.failures_in(self._all_of(names, start, end), _FAILURES)
        theirs = _signatures(during)
        shared = [error for error, count in ours.most_common() if min(count, theirs[error]) >= _MIN_SHARED]
        calls = self._count(self._all_of(names, start, end)) if shared else Window()
        usual = self._errors_of(names, *self._before(start)) if shared else None
        healthy = self._healthy_interval(start) if shared else None
        latest = None if healthy is None else self._errors_of(names, *healthy)
        for error in shared:
            before = confounder_baseline(_showing(usual, error), _showing(latest, error))
            confounder = Confounder("shared_error", error, before, _showing((calls, theirs), error), len(shared))
            if confounder.is_affected:
                showing = Counter(failure.tool_name for failure in during if _signature(failure) == error)
                times = self._times_of(
                    error, [n for n, _count in showing.most_common(_MOST_BY_MINUTE)], during, start, end
                )
                return [confounder], self._without_error(error, times)
        return [], self._current

    def _errors_of(self, names: Sequence[str], start: datetime, end: datetime) -> tuple[Window, Counter[str]]:
        """Return calls and failures by error of tools, for the time that the failures read (at most 5,000) cover."""
        failures = self._store.executions.failures_in(self._all_of(names, start, end), _FAILURES)
        if len(failures) == _FAILURES:
            start = min(failure.executed_at for failure in failures)
        return self._count(self._all_of(names, start, end)), _signatures(failures)

    def _times_of(
        self, error: str, names: Sequence[str], failures: Sequence[Failure], start: datetime, end: datetime
    ) -> Times:
        """Return the times in which these tools show the error."""
        edges = _edges(start, end)
        counted = self._store.executions.count([self._all_of(names, a, b) for a, b in edges])
        begins = [a for a, _b in edges]
        shown = Counter(
            bisect_right(begins, failure.executed_at) - 1
            for failure in failures
            if failure.tool_name in names and _signature(failure) == error
        )
        series = [Window(max(w.total, shown[i]), max(w.total, shown[i]) - shown[i]) for i, w in enumerate(counted)]
        total = sum(series, Window())
        found = largest_excess(_series(series), Fraction(total.failures, 2 * total.total)) or (0, len(edges))
        first, last = widened_interval(series, found, _widened(edges))
        return edges[first][0], edges[last - 1][1]

    def _without_error(self, error: str, times: Times) -> Window:
        """Return the current window without the failures with that error, and without the durations, of those times."""
        parts = since_parts(self._session, [times])
        failures = self._store.executions.failures_in(parts, _FAILURES)
        counted = self._count(parts)
        explained = _signatures(failures)[error]
        if len(failures) == _FAILURES:  # there are more than the store returned
            explained = explained * counted.failures // _FAILURES
        rest = self._current.without(Window(min(explained, self._current.failures), 0))
        timed = self._current.without(counted)
        return replace(timed, total=rest.total, successes=rest.successes, timed=min(timed.timed, rest.total))

    def _all_of(self, names: Sequence[str], start: datetime, end: datetime) -> list[Selection]:
        """Return what counts of other tools, in all versions."""
        return [Selection(name, start, end, **counted_by(self._session)) for name in names]

    def _count(self, selections: Sequence[Selection]) -> Window:
        return self._store.executions.count([selections])[0]


def since_parts(session: Session, times: Iterable[Times]) -> list[Selection]:
    """Return what counts as current in some times, without overlaps."""
    clipped = [(max(start, session.deployment_time), end) for start, end in times]
    return [selection for start, end in _merged(clipped) for selection in since(session, start, end)]


def notes_on_baseline(store: ExecutionStore, session: Session) -> list[str]:
    """Return sentences on what a session's baseline mixes: several versions, a rollback, a lasting change.

    What the baseline does not count is not in it, and so not in them.
    """
    begins, deployed = session.baseline_begins, session.deployment_time
    notes = []
    bad = () if session.left_out is None else session.left_out.every_version
    lives = [
        life
        for life in store.versions.deployments(session.tool_name)
        if life.deployed_at < deployed
        and (life.ended_at is None or life.ended_at > begins)
        and life.version_number not in bad
    ]
    numbers = sorted({life.version_number for life in lives})
    if len(numbers) > 1:
        notes.append(f"the baseline is mixed: versions {', '.join(map(str, numbers))} were live in it")
    undone = [life.version_number for life in lives if life.ended_by == "rollback" and life.ended_at != deployed]
    if undone:
        notes.append(f"the baseline holds what version {undone[0]} did before it was rolled back")
    (hours,) = store.executions.by_hour([_before(session)])
    found = change_point(_series([window for _start, window in hours]))
    if found is not None:
        rates = f"{found.rate_before:.1%} before, {found.rate_after:.1%} after"
        at = f"{hours[found.at][0]:%Y-%m-%d %H:%M} UTC"
        notes.append(f"the success rate changed within the baseline, about {at}: {rates}")
    return notes


def _with_outages(session: Session) -> Session:
    """Return the session with the minutes of outages in its baseline: here they are what is looked for."""
    return replace(session, left_out=session.left_out and replace(session.left_out, outages=()))


def _before(session: Session) -> list[Selection]:
    """Return the whole baseline, of all hours."""
    return baseline_of(replace(session, rules=replace(session.rules, baseline="before")), session.window_end)


def _edges(start: datetime, end: datetime) -> list[Times]:
    """Return [start, end) in steps that begin at whole minutes or hours: minutes for up to a day."""
    step = _MINUTE if end - start <= _DAY else _HOUR
    seconds = step.total_seconds()
    whole = start - timedelta(seconds=start.timestamp() % seconds)
    edges = []
    while start < end:
        following = min(end, whole + step)
        edges.append((start, following))
        start = whole = following
    return edges


def _series(windows: Sequence[Window]) -> list[tuple[int, int]]:
    return [(window.total, window.failures) for window in windows]


def _clipped(selections: Iterable[Selection], start: datetime, end: datetime) -> list[Selection]:
    clipped = [s._replace(start=max(s.start, start), end=min(s.end, end)) for s in selections]
    return [selection for selection in clipped if selection.start < selection.end]


def _widened(edges: Sequence[Times]) -> int:
    """Return by how many steps a problem may be widened."""
    return max(1, _WIDENED // max(b - a for a, b in edges))


def _merged(times: Iterable[Times]) -> list[Times]:
    """Return the same times without overlaps."""
    merged: list[Times] = []
    for start, end in sorted(times):
        begin = max(start, merged[-1][1]) if merged else start
        if begin < end:
            merged.append((begin, end))
    return merged


def _plain(window: Window) -> Window:
    return Window(window.total, window.successes)


def _signature(failure: Failure) -> str:
    return signature(failure.error_type, failure.error)


def _signatures(failures: Iterable[Failure]) -> Counter[str]:
    return Counter(map(_signature, failures))


def _showing(counted: tuple[Window, Counter[str]] | None, error: str) -> Window:
    """Return all calls; only those with that error count as failures."""
    if counted is None:
        return Window()
    calls, errors = counted
    return Window(calls.total, max(0, calls.total - errors[error]))
