"""What the page of a tool shows: its rates and durations over time, what happened to it, its errors and versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from rollguard.errors import UnknownTool
from rollguard.judge import Window
from rollguard.model.formatting import counted, milliseconds, percent
from rollguard.model.ramp import State
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import Rollout
from rollguard.model.session import Session
from rollguard.model.version import Deployment
from rollguard.rollback.investigation import investigation_of
from rollguard.service.pages.chart import Band, Mark, Point
from rollguard.service.pages.versions import VersionLine, changes_of, version_lines
from rollguard.store import ExecutionStore
from rollguard.store.rollups.selection import Selection

_FEWEST = 12  # calls of a point, on average
_TOGETHER = (1, 2, 3, 6)  # steps that are joined if there are fewer
_WITHIN = 0.1  # seconds to look for the errors of a deployment that was not rolled back
_MOST_SESSIONS, _MOST_ROLLBACKS, _MOST_ERRORS, _MOST_VERSIONS = 20, 5, 8, 12


class Range(NamedTuple):
    """How much time a chart shows, and how much of it each of its points is."""

    length: timedelta
    step: timedelta
    words: str


RANGES = {
    "1h": Range(timedelta(hours=1), timedelta(minutes=1), "1 hour"),
    "6h": Range(timedelta(hours=6), timedelta(minutes=5), "6 hours"),
    "24h": Range(timedelta(hours=24), timedelta(minutes=30), "24 hours"),
    "7d": Range(timedelta(days=7), timedelta(hours=2), "7 days"),
    "30d": Range(timedelta(days=30), timedelta(hours=8), "30 days"),
}


@dataclass(frozen=True, slots=True)
class Series:
    """The calls of a tool over time.

    Attributes:
        rates, p95: a point for each step; the value is None without calls.
        rate_bands, p95_bands: what each deployment is compared with.
        marks: deployments and rollbacks.
    """

    start: datetime
    end: datetime
    step: timedelta
    counts: Sequence[tuple[datetime, Window]]
    rates: Sequence[Point]
    p95: Sequence[Point]
    rate_bands: Sequence[Band]
    p95_bands: Sequence[Band]
    marks: Sequence[Mark]

    @property
    def total(self) -> Window:
        """Return the counts of the whole time."""
        calls = sum(window.total for _at, window in self.counts)
        return Window(calls, sum(window.successes for _at, window in self.counts))


@dataclass(frozen=True, slots=True)
class ToolView:
    """The page of a tool.

    Attributes:
        session: its latest session; None if no deployment of it was monitored.
        check: the latest check of that session.
        investigation: the errors since the session's deployment and before it; None without a session.
        versions: newest first.
    """

    name: str
    live: Deployment | None
    labels: dict[int, tuple[str, ...]]
    session: Session | None
    check: dict[str, Any] | None
    series: Series
    investigation: dict[str, Any] | None
    versions: Sequence[VersionLine]
    more_versions: int
    rollbacks: Sequence[Rollback]

    @property
    def can_go_back(self) -> bool:
        """Return whether there is a good version to go back to; any other is restored from the list of versions."""
        live, session = self.live, self.session
        if live is None:
            return False
        if (
            session is not None and session.active and session.version_number != live.version_number
        ):  # beside the live one
            return True
        return any(one.lives and not one.is_live and not one.was_rolled_back for one in self.versions)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Return the kinds of errors, the most frequent since the deployment first."""
        return [] if self.investigation is None else self.investigation["signatures"][:_MOST_ERRORS]


def tool_view(store: ExecutionStore, name: str, now: datetime, chosen: str | None = None) -> tuple[ToolView, str]:
    """Read the page of a tool, and the name of the range that it shows.

    Args:
        chosen: one of `RANGES`; by default the shortest one that shows the latest change.

    Raises:
        UnknownTool: it was never deployed and never called.
    """
    deployments, rollbacks = changes_of(store, name)
    sessions = store.sessions.recent(tool_name=name, limit=_MOST_SESSIONS)
    if not deployments and not sessions and not store.last_calls.of([name]):
        raise UnknownTool(f"{name} is not known: it was never deployed, and never called")
    latest = sessions[0] if sessions else None
    if chosen not in RANGES:
        chosen = _shortest(now, deployments)
    versions = version_lines(store, name, now, deployments, rollbacks)
    checks = [] if latest is None else store.sessions.checks(latest.session_id, limit=1, records=False)
    live = next((one for one in deployments if one.ended_at is None), None)
    view = ToolView(
        name=name,
        live=live,
        labels=store.releases.labels(name),
        session=latest,
        check=checks[0] if checks else None,
        series=_series(store, name, RANGES[chosen], now, sessions, deployments, checks),
        investigation=None if latest is None else _investigation(store, latest, rollbacks, now),
        versions=versions[:_MOST_VERSIONS],
        more_versions=max(0, len(versions) - _MOST_VERSIONS),
        rollbacks=rollbacks[:_MOST_ROLLBACKS],
    )
    return view, chosen


def _shortest(now: datetime, deployments: Sequence[Deployment]) -> str:
    """Return the shortest range in which the latest change is before its last sixth."""
    changed = max((one.deployed_at for one in deployments), default=now)
    for name, each in RANGES.items():
        if name != "30d" and now - changed < each.length * 5 / 6:
            return name
    return "24h"


def _investigation(
    store: ExecutionStore, session: Session, rollbacks: Sequence[Rollback], now: datetime
) -> dict[str, Any]:
    for rollback in rollbacks:
        if rollback.session_id == session.session_id and rollback.investigation is not None:
            return rollback.investigation
    return investigation_of(
        store, session, min(now, session.completed_at or now), within=_WITHIN, look_for_causes=False
    )


# --- over time -------------------------------------------------------------------------------------------------------


def _series(
    store: ExecutionStore,
    name: str,
    shown: Range,
    now: datetime,
    sessions: Sequence[Session],
    deployments: Sequence[Deployment],
    checks: Sequence[dict[str, Any]],
) -> Series:
    end = _floor(now, shown.step) + shown.step
    start = end - shown.length
    selection = [[Selection(name, start, end)]]
    by = store.executions.by_hour if shown.step >= timedelta(hours=1) else store.executions.by_minute
    step, counts = _joined(list(_in_steps(by(selection, durations=True)[0], start, end, shown.step)), shown.step)
    shares = [(at, window, window.percentiles_ms((0.95,))[0]) for at, window in counts]
    bands = list(_bands(store, sessions, checks, start, end))
    return Series(
        start=start,
        end=end,
        step=step,
        counts=counts,
        rates=[
            Point(at, window.success_rate, _rate_says(at, window), window.total, window.failures)
            for at, window, _p95 in shares
        ],
        p95=[
            Point(at, p95, f"{_clock(at)}: {milliseconds(p95) if p95 is not None else 'no durations'}", window.timed)
            for at, window, p95 in shares
        ],
        rate_bands=[rate for rate, _p95 in bands if rate is not None],
        p95_bands=[p95 for _rate, p95 in bands if p95 is not None],
        marks=[*_marks(deployments, start, end), *_rollout_marks(store.rollouts.recent(name, limit=20), start, end)],
    )


def _in_steps(
    series: Sequence[tuple[datetime, Window]], start: datetime, end: datetime, step: timedelta
) -> Iterator[tuple[datetime, Window]]:
    found: dict[datetime, Window] = {}
    for at, window in series:
        place = _floor(at, step)
        found[place] = found[place] + window if place in found else window
    at = start
    while at < end:
        yield at, found.get(at, Window())
        at += step


def _joined(
    counts: Sequence[tuple[datetime, Window]], step: timedelta
) -> tuple[timedelta, list[tuple[datetime, Window]]]:
    """Join neighbours until a point has enough calls to say something, and return the length of a point too."""
    calls = sum(window.total for _at, window in counts)
    together = next((each for each in _TOGETHER if calls * each >= _FEWEST * len(counts)), _TOGETHER[-1])
    joined = [
        (counts[first][0], sum((window for _at, window in counts[first : first + together]), Window()))
        for first in range(0, len(counts), together)
    ]
    return step * together, joined


def _floor(moment: datetime, step: timedelta) -> datetime:
    origin = datetime(1970, 1, 1, tzinfo=UTC)
    return moment - (moment - origin) % step


def _rate_says(at: datetime, window: Window) -> str:
    if not window.total:
        return f"{_clock(at)}: no calls"
    calls = counted(window.total, "call")
    return f"{_clock(at)}: {calls}, {window.failures:,} failed, {percent(window.rate)} succeeded"


def _clock(at: datetime) -> str:
    return at.strftime("%b %d %H:%M UTC")


def _bands(
    store: ExecutionStore,
    sessions: Sequence[Session],
    checks: Sequence[dict[str, Any]],
    start: datetime,
    end: datetime,
) -> Iterator[tuple[Band | None, Band | None]]:
    """Return, for each deployment, from where to where its rate and its p95 are as before.

    The latest one's begins with its baseline, and goes on after a rollback: the restored version has to reach it.
    """
    for number, session in enumerate(sessions):
        first = session.deployment_time if number else session.baseline_begins
        goes_on = number == 0 and session.status in ("active", "rolled_back")
        last = end if goes_on else session.completed_at or session.last_end
        if last <= start or first >= end:
            continue
        if number and session.baseline is None:
            checks = store.sessions.checks(session.session_id, limit=1, records=False)
        rate, p50, p95 = _baseline(session, checks)
        times = max(start, first), min(end, last)
        yield (
            None if rate is None else Band(*times, max(0.0, rate - session.rules.regression_threshold), rate),
            None if p50 is None or p95 is None else Band(*times, p50, p95),
        )


def _baseline(session: Session, checks: Sequence[dict[str, Any]]) -> tuple[float | None, float | None, float | None]:
    """Return the baseline's success rate, p50 and p95: as they are kept, or as the latest check counted them."""
    if session.baseline is not None:
        p50, p95 = session.baseline.percentiles_ms((0.5, 0.95))
        return session.baseline.success_rate, p50, p95
    latest = checks[0] if checks else {}
    return latest.get("baseline_success_rate"), latest.get("baseline_p50_ms"), latest.get("baseline_p95_ms")


def _marks(deployments: Sequence[Deployment], start: datetime, end: datetime) -> Iterator[Mark]:
    for one in deployments:
        if start <= one.deployed_at < end:
            restored = one.kind == "rollback"
            label = f"back to {one.version_number}" if restored else f"version {one.version_number}"
            yield Mark(one.deployed_at, label, one.kind)


def _rollout_marks(rollouts: Sequence[Rollout], start: datetime, end: datetime) -> Iterator[Mark]:
    """Return when two versions began to serve; the end of it is a deployment, or a mark of its own."""
    for one in rollouts:
        ramp = one.ramp
        if start <= ramp.started_at < end:
            yield Mark(ramp.started_at, f"{one.new_version} beside {one.old_version}", "rollout")
        if ramp.ended_at is not None and start <= ramp.ended_at < end and ramp.state is not State.PROMOTED:
            yield Mark(ramp.ended_at, str(ramp.state).replace("_", " "), "rollout")
