"""What else happened while a tool failed, gathered from the store for `rollguard.judge.external` to weigh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

from rollguard.judge import Surroundings, Window, Witness, change_point, worst_stretch
from rollguard.judge.signatures import signature
from rollguard.store import ExecutionStore, Failure, Session
from rollguard.store.stretches import Stretch, baseline_of, current_of, since

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_OWN_FAULT = timedelta(minutes=10)  # what begins so soon after a tool's own deployment is put down to that
_CLOSELY = 20  # other tools that are looked at minute by minute
_FAILURES = 5_000  # failures of each side whose errors are compared
_FEWEST_SHARED = 2  # failures with the same error, on both sides


def surroundings_of(
    store: ExecutionStore, session: Session, baseline: Window, current: Window, until: datetime
) -> Surroundings:
    """What else happened since a deployment that is about to be rolled back."""
    return _Look(store, session, baseline, current, until).surroundings()


class _Look:
    def __init__(
        self, store: ExecutionStore, session: Session, baseline: Window, current: Window, until: datetime
    ) -> None:
        self._store, self._session, self._until = store, session, until
        self._baseline, self._current = baseline, current

    def surroundings(self) -> Surroundings:
        earlier = self._hour_before()
        if earlier is not None and earlier.testifies:
            return Surroundings((earlier,), earlier.during, self._current)
        trouble = self._trouble()
        if trouble is None:
            return Surroundings((), self._baseline, self._current)
        witnesses, explained = self._elsewhere(*trouble)
        if explained:
            rest = _less(self._current, self._count(since_parts(self._session, explained)))
            return Surroundings(tuple(witnesses), self._baseline, rest)
        shared, failures = self._shared_error(*trouble)
        if shared is not None:
            rest = Window(self._current.total - failures, self._current.successes)
            return Surroundings((shared,), self._baseline, rest)
        return Surroundings(tuple(witnesses), self._baseline, self._current)

    # --- the tool itself, before ------------------------------------------------------------------------------------

    def _hour_before(self) -> Witness | None:
        """The last hour before the deployment, against the baseline before that hour."""
        deployed = self._session.deployment_time
        plain = replace(self._session, rules=replace(self._session.rules, baseline="before"))
        stretches = baseline_of(plain, self._until)
        hour = self._count(_clipped(stretches, deployed - _HOUR, deployed))
        before = self._count(_clipped(stretches, self._session.baseline_start, deployed - _HOUR))
        if not hour.total or not before.total:
            return None
        return Witness("hour_before", self._session.tool_name, before, hour)

    # --- the minutes in question ------------------------------------------------------------------------------------

    def _trouble(self) -> tuple[datetime, datetime] | None:
        """The stretch since the deployment that holds the failures."""
        rate = self._baseline.rate
        if rate is None:
            return None
        start, end = self._session.deployment_time, self._until + timedelta(microseconds=1)
        step = _MINUTE if end - start <= _DAY else _HOUR
        edges = _edges(start, end, step)
        parts = [since(self._session, a, b) for a, b in edges]
        found = worst_stretch(_series(self._store.executions.count(parts)), 1 - rate)
        return None if found is None else (edges[found[0]][0], edges[found[1] - 1][1])

    # --- other tools and versions -----------------------------------------------------------------------------------

    def _elsewhere(self, start: datetime, end: datetime) -> tuple[list[Witness], list[tuple[datetime, datetime]]]:
        """(who has something to say, the times in which those fail more who fail more than before)."""
        names = [name for name in self._store.executions.tool_names() if name != self._session.tool_name]
        asked = [*names, None] if self._session.version_number is not None else list(names)
        before = self._store.executions.count([self._others(name, *self._before()) for name in asked])
        during = self._store.executions.count([self._others(name, start, end) for name in asked])
        if asked and asked[-1] is None:  # executions that name no version count as ours, not as another version's
            during[-1] = _less(during[-1], self._count([Stretch(self._session.tool_name, start, end, only=0)]))
        worse = [
            (name, was, now)
            for name, was, now in zip(asked, before, during, strict=True)
            if was.rate is not None and now.rate is not None and now.rate < was.rate
        ]
        worse.sort(key=lambda found: found[2].failures, reverse=True)
        witnesses, explained = [], []
        watched = {session.tool_name: session.deployment_time for session in self._store.sessions.active()}
        for name, was, _now in worse[:_CLOSELY]:
            found = self._worst_of(name, was, start, end)
            if found is None:
                continue
            stretch, counted = found
            if name in watched and watched[name] - _MINUTE <= stretch[0] <= watched[name] + _OWN_FAULT:
                continue
            kind = "other_version" if name is None else "other_tool"
            witness = Witness(kind, name or self._session.tool_name, _plain(was), _plain(counted), len(asked))
            if witness.testifies:
                explained.append(stretch)
                witnesses.append(witness)
        return witnesses, explained

    def _worst_of(
        self, name: str | None, before: Window, start: datetime, end: datetime
    ) -> tuple[tuple[datetime, datetime], Window] | None:
        edges = _edges(start, end, _MINUTE if end - start <= _DAY else _HOUR)
        counted = self._store.executions.count([self._others(name, a, b) for a, b in edges])
        found = worst_stretch(_series(counted), 1 - (before.rate or Fraction(0)))
        if found is None:
            return None
        first, last = found
        return (edges[first][0], edges[last - 1][1]), sum(counted[first:last], Window())

    def _before(self) -> tuple[datetime, datetime]:
        return self._session.baseline_start, self._session.deployment_time

    def _others(self, name: str | None, start: datetime, end: datetime) -> list[Stretch]:
        """Executions of another tool; without a name those of this tool's other versions."""
        leave_out = self._session.rules.caller_errors
        if name is not None:
            return [Stretch(name, start, end, leave_out=leave_out)]
        return [Stretch(self._session.tool_name, start, end, but=self._session.version_number, leave_out=leave_out)]

    # --- the same error elsewhere -----------------------------------------------------------------------------------

    def _shared_error(self, start: datetime, end: datetime) -> tuple[Witness | None, int]:
        """The error of ours that others show too, more than before; and how many of our failures show it."""
        executions, name = self._store.executions, self._session.tool_name
        ours = _signatures(executions.failures_in(current_of(self._session, self._until), _FAILURES))
        watched = {s.tool_name for s in self._store.sessions.active()}
        names = [other for other in executions.tool_names() if other != name and other not in watched]
        if not names or not ours:
            return None, 0
        before = self._before()
        theirs = _signatures(executions.failures_in([Stretch(n, start, end) for n in names], _FAILURES))
        shared = [error for error, count in ours.most_common() if min(count, theirs[error]) >= _FEWEST_SHARED]
        if not shared:
            return None, 0
        calls = self._count([Stretch(n, start, end) for n in names])
        earlier = executions.failures_in([Stretch(n, *before) for n in names], _FAILURES)
        if len(earlier) == _FAILURES:  # more than were read: compare with the time that they cover
            before = (min(failure.executed_at for failure in earlier), before[1])
        calls_before = self._count([Stretch(n, *before) for n in names])
        then = _signatures(earlier)
        for error in shared:
            witness = Witness(
                "shared_error",
                error,
                Window(calls_before.total, max(0, calls_before.total - then[error])),
                Window(calls.total, max(0, calls.total - theirs[error])),
                len(shared),
            )
            if witness.testifies:
                return witness, ours[error]
        return None, 0

    def _count(self, stretches: Sequence[Stretch]) -> Window:
        return self._store.executions.count([stretches])[0]


def since_parts(session: Session, times: Iterable[tuple[datetime, datetime]]) -> list[Stretch]:
    """What counts as current in some times, none of it twice."""
    parts: list[Stretch] = []
    reached = session.deployment_time
    for start, end in sorted(times):
        if max(start, reached) < end:
            parts += since(session, max(start, reached), end)
            reached = end
    return parts


def notes_on_baseline(store: ExecutionStore, session: Session) -> list[str]:
    """What is mixed in a session's baseline: several versions, a rollback, a change for good. Sentences."""
    start, deployed = session.baseline_start, session.deployment_time
    notes = []
    lives = [
        life
        for life in store.versions.deployments(session.tool_name)
        if life.deployed_at < deployed and (life.ended_at is None or life.ended_at > start)
    ]
    numbers = sorted({life.version_number for life in lives})
    if len(numbers) > 1:
        notes.append(f"the baseline is mixed: versions {', '.join(map(str, numbers))} were live in it")
    undone = [life.version_number for life in lives if life.ended_by == "rollback" and life.ended_at != deployed]
    if undone:
        notes.append(f"the baseline holds what version {undone[0]} did before it was rolled back")
    edges = _edges(start, deployed, _HOUR)
    found = change_point(_series(store.executions.count([[Stretch(session.tool_name, a, b)] for a, b in edges])))
    if found is not None:
        rates = f"{found.rate_before:.1%} before, {found.rate_after:.1%} after"
        notes.append(
            f"the success rate changed within the baseline, about {edges[found.at][0]:%Y-%m-%d %H:%M} UTC: {rates}"
        )
    return notes


def _edges(start: datetime, end: datetime, step: timedelta) -> list[tuple[datetime, datetime]]:
    """[start, end) in steps that begin with whole minutes, or hours, of the clock."""
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


def _clipped(stretches: Iterable[Stretch], start: datetime, end: datetime) -> list[Stretch]:
    clipped = [replace(s, start=max(s.start, start), end=min(s.end, end)) for s in stretches]
    return [stretch for stretch in clipped if stretch.start < stretch.end]


def _less(window: Window, part: Window) -> Window:
    """A window without a part of it; only the counts, which is all that the rest is judged by."""
    total = max(0, window.total - part.total)
    return Window(total, min(total, max(0, window.successes - part.successes)))


def _plain(window: Window) -> Window:
    return Window(window.total, window.successes)


def _signatures(failures: Iterable[Failure]) -> Counter[str]:
    return Counter(signature(failure.error_type, failure.error) for failure in failures)
