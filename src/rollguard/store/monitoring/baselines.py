"""What a session's baseline does not count, and the counts of earlier versions: found once, kept with the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from rollguard.judge.baseline import History, LeftOut, Times, left_out, reaches
from rollguard.judge.creeping import EarlierVersion, EarlierVersions
from rollguard.judge.outages import affected_minutes, outages, suspicious_hours, usual_rate, witnesses
from rollguard.model.session import Session
from rollguard.store.database.engine import Database
from rollguard.store.executions.executions import Executions
from rollguard.store.monitoring.histories import histories
from rollguard.store.rollups.selection import Selection, baseline_of, counted_by, good_calls

_HOUR = timedelta(hours=1)
_MOST_EARLIER = 200  # earlier versions that are compared, the latest
_FURTHEST = 10  # earlier lives that a baseline tries to reach
_FRESH = timedelta(minutes=5)  # for which what was found of the other tools is taken again
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class _Affected(NamedTuple):
    """When each of the other tools was affected, as it was found for these times."""

    times: Times
    as_of: datetime
    tools: Mapping[str, Sequence[Times]]


class Baselines:
    """Finds what sessions' baselines do not count.

    Args:
        database: where deployments and sessions are kept.
        executions: counts them.
    """

    def __init__(self, database: Database, executions: Executions) -> None:
        self._database, self._executions = database, executions
        self._affected: _Affected | None = None

    def of(self, sessions: Sequence[Session], now: datetime) -> list[Session]:
        """Return the sessions with what their baselines do not count, by a few statements for all of them.

        It is found when a session starts, and once more when late executions have arrived. Then it stays.
        """
        wanted = [session for session in sessions if _is_due(session, now)]
        if not wanted:
            return list(sessions)
        found = {session.session_id: session for session in self._found(wanted, now)}
        return [found.get(session.session_id, session) for session in sessions]

    def _found(self, sessions: Sequence[Session], now: datetime) -> list[Session]:
        with self._database.read() as connection:
            known = histories(connection, {session.tool_name for session in sessions})
        own = [known[s.tool_name].before(s.session_id, s.deployment_time) for s in sessions]
        affected = self._affected_tools(sessions, now)
        found = []
        for session, history in zip(sessions, own, strict=True):
            out = LeftOut(now)
            if session.rules.baseline_counts == "good_versions":
                minutes = outages(affected, session.tool_name, session.baseline_start, session.deployment_time)
                out = left_out(history, session.baseline_start, now, minutes)
            found.append(replace(session, left_out=out))
        return self._with_earlier(self._reaching(found, own), own)

    # --- how far back -----------------------------------------------------------------------------------------------

    def _reaching(self, sessions: list[Session], own: Sequence[History]) -> list[Session]:
        """Count what is left out, and let the baselines with too few calls left reach further back."""
        some = [number for number, session in enumerate(sessions) if session.left_out and session.left_out.anything]
        everything = [replace(sessions[number], left_out=None) for number in some]
        counted = self._totals([*everything, *(sessions[number] for number in some)])
        few: list[tuple[int, Session]] = []
        for place, number in enumerate(some):
            before, kept = counted[place], counted[len(some) + place]
            sessions[number] = _changed(sessions[number], calls=max(0, before - kept))
            if kept < min(before, sessions[number].rules.min_executions):
                few += [(number, longer) for longer in _longer(sessions[number], own[number])]
        for (number, longer), total in zip(few, self._totals([one for _number, one in few]), strict=True):
            begins = sessions[number].left_out
            if begins and begins.start is None and total >= longer.rules.min_executions:
                sessions[number] = longer
        return sessions

    def _totals(self, sessions: Sequence[Session]) -> list[int]:
        windows = [baseline_of(session, session.window_end) for session in sessions]
        return [window.total for window in self._executions.totals(windows)] if windows else []

    # --- earlier versions -------------------------------------------------------------------------------------------

    def _with_earlier(self, sessions: Sequence[Session], own: Sequence[History]) -> list[Session]:
        windows: list[list[Selection]] = []
        asked: list[list[str]] = []
        for session, history in zip(sessions, own, strict=True):
            calls = _calls_by_version(session, history)
            names = list(reversed(calls))[:_MOST_EARLIER]
            windows += [calls[name] for name in names]
            asked.append(names)
        counted = iter(self._executions.totals(windows) if windows else ())
        found = []
        for session, names in zip(sessions, asked, strict=True):
            counts = [(name, next(counted)) for name in names]
            versions = [EarlierVersion(name, window.total, window.failures) for name, window in counts]
            found.append(replace(session, earlier_versions=EarlierVersions.of(versions, session.rules.alpha)))
        return found

    # --- outages ----------------------------------------------------------------------------------------------------

    def _affected_tools(self, sessions: Sequence[Session], now: datetime) -> Mapping[str, Sequence[Times]]:
        """Return when each of the other tools was affected in the days of these baselines."""
        asked = [session for session in sessions if session.rules.baseline_counts == "good_versions"]
        if not asked:
            return {}
        start = min(session.baseline_start for session in asked).replace(minute=0, second=0, microsecond=0)
        end = max(session.deployment_time for session in asked).replace(minute=0, second=0, microsecond=0) + _HOUR
        kept = self._affected
        if kept is None or kept.times != (start, end) or not timedelta() <= now - kept.as_of < _FRESH:
            kept = self._affected = _Affected((start, end), now, self._read_affected(start, end))
        return kept.tools

    def outages_beside(self, tool_name: str, start: datetime, end: datetime) -> list[Times]:
        """Return the times in [start, end) in which other tools show an outage."""
        first, last = (at.replace(minute=0, second=0, microsecond=0) for at in (start, end))
        return list(outages(self._read_affected(first, last + _HOUR), tool_name, start, end))

    def _read_affected(self, start: datetime, end: datetime) -> dict[str, list[Times]]:
        names = witnesses(self._executions.tool_names())
        if len(names) < 2:
            return {}
        with self._database.read() as connection:
            known = histories(connection, names)
        outs = {
            name: left_out(known[name].before(_NEXT, end), start, end) for name in names
        }  # a bad version is no outage
        hours = self._executions.by_hour([good_calls(name, start, end, outs[name]) for name in names])
        called = {name: series for name, series in zip(names, hours, strict=True) if series}
        affected: dict[str, list[Times]] = {name: [] for name in called}
        suspects = [(name, times) for name, series in called.items() for times in suspicious_hours(series, len(called))]
        windows = [good_calls(name, max(a, start), min(b, end), outs[name]) for name, (a, b) in suspects]
        for (name, _times), minutes in zip(
            suspects, self._executions.by_minute(windows) if windows else (), strict=True
        ):
            found = affected_minutes(minutes, usual_rate(called[name]))
            affected[name] += [] if found is None else [found]
        return affected


_NEXT = 2**31  # greater than every session's number


def _calls_by_version(session: Session, history: History) -> dict[str, list[Selection]]:
    """Return all calls of each earlier good version, the oldest version first."""
    found: dict[str, list[Selection]] = {}
    for life in history.lives:
        if not history.good(life) or (life.version is not None and life.version == session.version_number):
            continue
        end = life.end or session.deployment_time
        times = Selection(session.tool_name, life.start, end, **counted_by(session))
        if life.version is None:
            found[life.name] = [times]
            continue
        named = times._replace(start=_EVER, end=session.deployment_time, only=life.version)
        found.setdefault(life.name, [named]).append(times._replace(only=0))
    return found


def _is_due(session: Session, now: datetime) -> bool:
    if session.baseline is not None:
        return False
    return session.left_out is None or session.left_out.as_of < session.settles_at <= now


def _changed(session: Session, **changes: Any) -> Session:
    return replace(session, left_out=session.left_out and replace(session.left_out, **changes))


def _longer(session: Session, history: History) -> list[Session]:
    """Return the session with baselines that reach further back, the shortest first."""
    window = session.deployment_time - session.baseline_start
    out, longer = session.left_out or LeftOut(session.deployment_time), []
    for start in reaches(history, session.baseline_start, window)[:_FURTHEST]:
        found = left_out(history, start, out.as_of, out.outages)
        longer.append(replace(session, left_out=replace(found, calls=out.calls, start=start)))
    return longer
