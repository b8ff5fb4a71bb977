"""What the overview shows: the tools and how they do, what needs a person, and the latest rollbacks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from rollguard.judge import Window
from rollguard.model.attempt import Attempt
from rollguard.model.attempt import State as Stage
from rollguard.model.formatting import ago, counted, duration
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import Rollout
from rollguard.model.version import Deployment
from rollguard.model.watcher import Coverage, WatcherState, Watching
from rollguard.store import ExecutionStore
from rollguard.store.rollups.selection import Selection

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
_ORDER = list(State)


@dataclass(frozen=True, slots=True)
class ToolLine:
    """One tool in the list.

    Attributes:
        live: its live deployment; None if its versions are unknown.
        session: its row of `active_monitoring`; None if it is not monitored.
        calls, failures: of the last day.
        rolled_back: its rollback of the last day, if there was one.
    """

    name: str
    live: Deployment | None
    session: dict[str, Any] | None
    calls: int
    failures: int
    rolled_back: Rollback | None

    @property
    def state(self) -> State:
        """Return how it does."""
        if self.session is not None:
            return _OF_VERDICT.get(self.session["latest_verdict"], State.UNCHECKED)
        if self.rolled_back is not None and self.rolled_back.rollback_successful:
            return State.ROLLED_BACK
        return State.UNMANAGED if self.live is None else State.LIVE

    @property
    def success_rate(self) -> float | None:
        """Return the success rate of the last day; None without calls."""
        return None if not self.calls else (self.calls - self.failures) / self.calls

    @property
    def order(self) -> tuple[int, int, str]:
        """Return its place in the list: what needs a person first, then what fails most."""
        place = _ORDER.index(self.state)
        return (min(place, _ORDER.index(State.HEALTHY)), -self.failures, self.name)


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


class Summary(NamedTuple):
    """What there is of every tool, by its name.

    Attributes:
        sessions: its active session.
        calls: its calls and failures of the last day.
        live: its live deployment.
    """

    sessions: dict[str, dict[str, Any]]
    calls: dict[str, tuple[int, int]]
    live: dict[str, Deployment]


class Summaries:
    """Reads the summary once for all who look, and again as soon as something was decided or recorded."""

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._kept: tuple[object, float, Summary] | None = None

    def read(self, since: datetime) -> Summary:
        """Return the summary, with the calls from the full hour `since` on."""
        store, seen = self._store, (self._store.reports.latest(), since)
        if self._kept is not None and self._kept[0] == seen and time.monotonic() - self._kept[1] < _KEPT:
            return self._kept[2]
        began = time.monotonic()
        sessions = {row["tool_name"]: row for row in store.reports.active_monitoring(*_READ)}
        found = Summary(sessions, store.by_tool.calls(since), store.versions.live_of_all())
        self._kept = seen, began, found
        return found


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
    sessions, calls, live = summaries.read(since)
    recent = store.rollbacks.recent(since=now - _DAY, limit=200)
    rolled_back = {rollback.tool_name: rollback for rollback in reversed(recent)}
    lines = [
        ToolLine(name, live.get(name), sessions.get(name), *calls.get(name, (0, 0)), rolled_back.get(name))
        for name in calls.keys() | live.keys() | sessions.keys()
    ]
    matching = sorted(
        (line for line in lines if search.casefold() in line.name.casefold() and (not state or line.state == state)),
        key=lambda line: line.order,
    )
    page = min(max(1, page), max(1, -(-len(matching) // SHOWN)))
    shown = matching[(page - 1) * SHOWN : page * SHOWN]
    watching = store.watchers.watching()
    concerns = list(_distinct(_concerns(store, list(sessions.values()), recent, watching, interval, now)))
    return Overview(
        tools=list(zip(shown, _by_hour(store, [line.name for line in shown], since, now), strict=True)),
        found=len(matching),
        known=len(lines),
        states=Counter(line.state for line in lines),
        calls=sum(line.calls for line in lines),
        failures=sum(line.failures for line in lines),
        monitored=len(sessions),
        rollbacks_in_week=store.rollbacks.count(now - _WEEK),
        concerns=concerns[:_MOST_CONCERNS],
        more_concerns=max(0, len(concerns) - _MOST_CONCERNS),
        rollbacks=store.rollbacks.recent(limit=_MOST_ROLLBACKS),
        rollouts=store.rollouts.open(),
        proposals=[one for one in store.attempts.recent(states=[Stage.WAITING]) if not one.expired(now)],
        watching=watching,
        page=page,
    )


def _by_hour(
    store: ExecutionStore, names: Sequence[str], since: datetime, now: datetime
) -> list[list[tuple[int, int] | None]]:
    """Return calls and failures of each tool in each hour, None in hours without calls."""
    hours = [since + timedelta(hours=number) for number in range(HOURS)]
    found = store.executions.by_hour([[Selection(name, since, now)] for name in names])
    return [[_counts(windows.get(hour)) for hour in hours] for windows in map(dict, found)]


def _counts(window: Window | None) -> tuple[int, int] | None:
    return None if window is None or not window.total else (window.total, window.failures)


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
    sessions: Sequence[dict[str, Any]],
    recent: Sequence[Rollback],
    watching: Watching,
    interval: timedelta,
    now: datetime,
) -> Iterator[Concern]:
    yield from _of_watchers(watching, interval)
    yield from _of_rollbacks(store, recent)
    yield from _of_sessions(store, sessions, interval, now)
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


def _of_sessions(
    store: ExecutionStore, sessions: Sequence[dict[str, Any]], interval: timedelta, now: datetime
) -> Iterator[Concern]:
    """Say what the active sessions found, the worst first."""
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
    for silent in store.reports.silent():
        says = f"nobody calls it any more; the last call was {ago(silent['silent_since'], now)}"
        yield Concern("warn", silent["tool_name"], says, silent["session_id"])
    names = {row["session_id"]: row["tool_name"] for row in sessions}
    for number, says in store.sessions.creeping().items():
        if number in names:
            yield Concern("warn", names[number], says, number)
    overdue = [row for row in sessions if (row["latest_check_at"] or row["monitoring_started_at"]) < late]
    if overdue:
        were = "session was" if len(overdue) == 1 else "sessions were"
        says = f"{len(overdue):,} {were} not checked for more than {duration(2 * interval + timedelta(minutes=1))}."
        yield Concern("warn", None, says)
