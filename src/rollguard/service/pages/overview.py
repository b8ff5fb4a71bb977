"""What the overview shows: the tools and how they do, what needs a person, and the latest rollbacks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

from rollguard.model.attempt import Attempt
from rollguard.model.attempt import State as Stage
from rollguard.model.formatting import ago, counted, duration
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import Rollout
from rollguard.model.version import Deployment
from rollguard.model.watcher import Coverage, WatcherState, Watching
from rollguard.store import ExecutionStore

HOURS = 24
SHOWN = 25  # tools on a page
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_MOST_CONCERNS = 12
_MOST_ROLLBACKS = 5
_KEPT = 3.0  # seconds that the summary is kept at most while `Reports.latest` says that nothing changed
_READ = (  # of `active_monitoring`
    *("session_id", "tool_name", "version_number", "monitoring_started_at"),
    *("latest_verdict", "latest_check_at", "latest_success_rate_drop"),
)


T = TypeVar("T")


class State(StrEnum):
    """How a tool does; those that need a person first."""

    REGRESSED = "regressed"
    FAILED_CHECK = "check failed"
    EXTERNAL = "outside cause"
    ROLLED_BACK = "rolled back"
    HEALTHY = "healthy"
    UNPROVEN = "too few calls"
    UNCHECKED = "not checked yet"
    LIVE = "live"
    UNMANAGED = "recorded only"


_OF_VERDICT = {
    "regressed": State.REGRESSED,
    "error": State.FAILED_CHECK,
    "external": State.EXTERNAL,
    "healthy": State.HEALTHY,
    "insufficient_data": State.UNPROVEN,
    None: State.UNCHECKED,
}
_PLACE = {state: min(place, list(State).index(State.HEALTHY)) for place, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class ToolLine:
    """One tool in the list.

    Attributes:
        state: how it does.
        live: its live deployment; None if its versions are unknown.
        session: its row of `active_monitoring`; None if it is not monitored.
        calls, failures: of the last day.
        rolled_back: its rollback of the last day, if there was one.
    """

    name: str
    state: State
    live: Deployment | None
    session: dict[str, Any] | None
    calls: int
    failures: int
    rolled_back: Rollback | None

    @property
    def success_rate(self) -> float | None:
        """Return the success rate of the last day; None without calls."""
        return None if not self.calls else (self.calls - self.failures) / self.calls

    @property
    def order(self) -> tuple[int, int, str]:
        """Return its place in the list: what needs a person first, then what fails most."""
        return (_PLACE[self.state], -self.failures, self.name)


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs a person.

    Attributes:
        kind: `bad`, or `warn` if it is less urgent.
        tool_name: the tool; None if it concerns all of them.
        says: what, as a sentence.
        session_id: the session that says more.
    """

    kind: str
    tool_name: str | None
    says: str
    session_id: int | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """The overview.

    Attributes:
        tools: those of this page, each with its calls and failures hour by hour.
        found: how many tools match; `known`: how many there are.
        states: how many tools are in each state.
        rollouts: those under way; two versions of a tool serve.
        proposals: those that wait for a person.
    """

    tools: Sequence[tuple[ToolLine, Sequence[tuple[int, int] | None]]]
    found: int
    known: int
    states: Counter[State]
    calls: int
    failures: int
    monitored: int
    rollbacks_in_week: int
    concerns: Sequence[Concern]
    more_concerns: int
    rollbacks: Sequence[Rollback]
    rollouts: Sequence[Rollout]
    proposals: Sequence[Attempt]
    watching: Watching
    page: int

    @property
    def pages(self) -> int:
        """Return how many pages the list has."""
        return max(1, -(-self.found // SHOWN))

    @property
    def success_rate(self) -> float | None:
        """Return the success rate of all calls of the last day; None without calls."""
        return None if not self.calls else (self.calls - self.failures) / self.calls


class Decided(NamedTuple):
    """What was decided of every tool.

    Attributes:
        sessions: its active session, by its name.
        live: its live deployment, by its name.
        silent: the active sessions whose tools nobody calls any more.
        creeping: what the active sessions say whose tools get worse slowly.
    """

    sessions: dict[str, dict[str, Any]]
    live: dict[str, Deployment]
    silent: Sequence[dict[str, Any]]
    creeping: dict[int, str]


class _Kept(Generic[T]):
    """Keeps what was read for a few seconds, until what it was read for is another."""

    def __init__(self) -> None:
        self._kept: tuple[object, float, T] | None = None

    def get(self, of: object, read: Callable[[], T]) -> T:
        kept = self._kept
        if kept is not None and kept[0] == of and time.monotonic() - kept[1] < _KEPT:
            return kept[2]
        began = time.monotonic()
        found = read()
        self._kept = of, began, found
        return found


class Summaries:
    """Reads what there is of every tool once for all who look, and again after a decision or a call."""

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._decided: _Kept[Decided] = _Kept()
        self._calls: _Kept[dict[str, tuple[int, int]]] = _Kept()

    def read(self, since: datetime) -> tuple[Decided, dict[str, tuple[int, int]]]:
        """Return what was decided, and each tool's calls and failures from the full hour `since` on."""
        decided, execution = self._store.reports.latest()
        return (
            self._decided.get(decided, self._read_decided),
            self._calls.get((execution, since), lambda: self._store.by_tool.calls(since)),
        )

    def _read_decided(self) -> Decided:
        store = self._store
        sessions = {row["tool_name"]: row for row in store.reports.active_monitoring(*_READ)}
        live = store.versions.live_of_all()
        return Decided(sessions, live, store.reports.silent(), store.sessions.creeping())


def overview(
    store: ExecutionStore,
    summaries: Summaries,
    now: datetime,
    interval: timedelta,
    *,
    search: str = "",
    state: str = "",
    page: int = 1,
) -> Overview:
    """Read the overview, with a number of statements that does not depend on the number of tools.

    Args:
        interval: between two checks, of the settings.
        search: only tools with this in their name.
        state: only tools in this state.
        page: of the list, from 1 on.
    """
    since = _hour(now) - timedelta(hours=HOURS - 1)
    decided, calls = summaries.read(since)
    recent = store.rollbacks.recent(since=now - _DAY, limit=200)
    latest = recent if len(recent) >= _MOST_ROLLBACKS else store.rollbacks.recent(limit=_MOST_ROLLBACKS)
    rolled_back = {rollback.tool_name: rollback for rollback in reversed(recent)}
    names = calls.keys() | decided.live.keys() | decided.sessions.keys()
    lines = [_line(name, decided, calls.get(name, (0, 0)), rolled_back.get(name)) for name in names]
    wanted = search.casefold()
    matching = sorted(
        (line for line in lines if wanted in line.name.casefold() and (not state or line.state == state)),
        key=lambda line: line.order,
    )
    page = min(max(1, page), max(1, -(-len(matching) // SHOWN)))
    shown = matching[(page - 1) * SHOWN : page * SHOWN]
    watching = store.watchers.watching()
    concerns = list(_distinct(_concerns(store, decided, recent, watching, interval, now)))
    return Overview(
        tools=list(zip(shown, _by_hour(store, [line.name for line in shown], since), strict=True)),
        found=len(matching),
        known=len(lines),
        states=Counter(line.state for line in lines),
        calls=sum(line.calls for line in lines),
        failures=sum(line.failures for line in lines),
        monitored=len(decided.sessions),
        rollbacks_in_week=store.rollbacks.count(now - _WEEK),
        concerns=concerns[:_MOST_CONCERNS],
        more_concerns=max(0, len(concerns) - _MOST_CONCERNS),
        rollbacks=latest[:_MOST_ROLLBACKS],
        rollouts=store.rollouts.open(),
        proposals=[one for one in store.attempts.recent(states=[Stage.WAITING]) if not one.expired(now)],
        watching=watching,
        page=page,
    )


def _line(name: str, decided: Decided, calls: tuple[int, int], rolled_back: Rollback | None) -> ToolLine:
    live, session = decided.live.get(name), decided.sessions.get(name)
    if session is not None:
        state = _OF_VERDICT.get(session["latest_verdict"], State.UNCHECKED)
    elif rolled_back is not None and rolled_back.rollback_successful:
        state = State.ROLLED_BACK
    else:
        state = State.UNMANAGED if live is None else State.LIVE
    return ToolLine(name, state, live, session, *calls, rolled_back)


def _by_hour(store: ExecutionStore, names: Sequence[str], since: datetime) -> list[list[tuple[int, int] | None]]:
    """Return calls and failures of each tool in each hour, None in hours without calls."""
    hours = [since + timedelta(hours=number) for number in range(HOURS)]
    found = store.by_tool.hours(names, since)
    return [[found[name].get(hour) for hour in hours] for name in names]


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


# --- what needs a person ---------------------------------------------------------------------------------------------


def _distinct(concerns: Iterable[Concern]) -> Iterator[Concern]:
    """Return the first concern of each session; the others follow from it."""
    seen: set[int] = set()
    for one in concerns:
        if one.session_id is None or one.session_id not in seen:
            yield one
        if one.session_id is not None:
            seen.add(one.session_id)


def _concerns(
    store: ExecutionStore,
    decided: Decided,
    recent: Sequence[Rollback],
    watching: Watching,
    interval: timedelta,
    now: datetime,
) -> Iterator[Concern]:
    yield from _of_watchers(watching, interval)
    yield from _of_rollbacks(store, recent)
    yield from _of_sessions(decided, interval, now)
    for held in store.quarantine.in_force():
        if held.noticed_at is not None:
            says = f"its file holds version {held.version_number} again, which is in quarantine; it is not served"
            yield Concern("warn", held.tool_name, says)
    for unsettled in store.actuations.unsettled(now):
        says = f"nobody knows what is live at its target since {ago(unsettled.since, now)}: {unsettled.last_error}"
        yield Concern("warn", unsettled.tool_name, says)
    failing, error = store.outbox.failing()
    if failing:
        yield Concern("warn", None, f"{counted(failing, 'notification')} could not be delivered: {error}")


def _of_watchers(watching: Watching, interval: timedelta) -> Iterator[Concern]:
    coverage = watching.coverage(interval)
    if coverage is Coverage.NOBODY:
        yield Concern("bad", None, "Nobody watches: nothing is checked or rolled back. Start: rollguard watch")
    elif coverage is Coverage.SINGLE_CYCLES:
        yield Concern("warn", None, f"No watcher runs. The last check was {ago(watching.last_check, watching.as_of)}.")
    for watcher in watching.watchers:
        if watcher.state is WatcherState.BEHIND:
            says = f"The watcher on {watcher.host} is behind: its next cycle is {duration(watcher.behind)} late."
            yield Concern("warn", None, says)


def _of_rollbacks(store: ExecutionStore, recent: Sequence[Rollback]) -> Iterator[Concern]:
    for rollback in store.rollbacks.unfinished():
        says = f"its rollback is {rollback.state}: {rollback.error or rollback.reason}"
        yield Concern("bad", rollback.tool_name, says, rollback.session_id)
    for rollback in recent:
        if rollback.verification_success is False:
            says = f"version {rollback.to_version} did not recover after the rollback: {rollback.verification_note}"
            yield Concern("bad", rollback.tool_name, says, rollback.session_id)


def _of_sessions(decided: Decided, interval: timedelta, now: datetime) -> Iterator[Concern]:
    """Say what the active sessions found, the worst first."""
    sessions = decided.sessions.values()
    late = now - 2 * interval - timedelta(minutes=1)
    for row in sessions:
        where = row["tool_name"], row["session_id"]
        if row["latest_verdict"] == "regressed":
            yield Concern("bad", where[0], f"version {row['version_number']} is worse than before", where[1])
        elif row["latest_verdict"] == "error":
            yield Concern("bad", where[0], "its latest check failed, so nothing is decided", where[1])
    for row in sessions:
        if row["latest_verdict"] == "external":
            says = "its calls fail, and so do others: something else is the cause"
            yield Concern("warn", row["tool_name"], says, row["session_id"])
    for silent in decided.silent:
        says = f"nobody calls it any more; the last call was {ago(silent['silent_since'], now)}"
        yield Concern("warn", silent["tool_name"], says, silent["session_id"])
    names = {row["session_id"]: row["tool_name"] for row in sessions}
    for number, says in decided.creeping.items():
        if number in names:
            yield Concern("warn", names[number], says, number)
    overdue = [row for row in sessions if (row["latest_check_at"] or row["monitoring_started_at"]) < late]
    if overdue:
        were = "session was" if len(overdue) == 1 else "sessions were"
        says = f"{len(overdue):,} {were} not checked for more than {duration(2 * interval + timedelta(minutes=1))}."
        yield Concern("warn", None, says)
