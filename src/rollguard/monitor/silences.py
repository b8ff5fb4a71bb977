"""Find monitored tools that fell silent. It is reported, and never acted upon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollguard.judge.silence import QUIET, CallsByHour, Silence, silence
from rollguard.model.session import Session
from rollguard.store import ExecutionStore

_MOST, _MOST_QUIET = 100, 25  # other tools, and quiet ones, that one check looks at


def silences_of(store: ExecutionStore, sessions: Sequence[Session], now: datetime) -> dict[int, Silence]:
    """Return the silences of active sessions, by their ids. A tool that is called every hour costs one look-up."""
    active = [session for session in sessions if session.active]
    last = store.last_calls.of([session.tool_name for session in active]) if active else {}
    quiet = [s for s in active if s.tool_name in last and now - last[s.tool_name] >= QUIET]
    quiet = sorted(quiet, key=lambda session: last[session.tool_name], reverse=True)[:_MOST_QUIET]
    if not quiet:
        return {}
    store.fold()
    begin, names = min(session.baseline_start for session in quiet), {session.tool_name for session in quiet}
    hours = store.last_calls.by_hour(sorted(names), begin)
    every = CallsByHour(store.last_calls.of_all(sorted(names | set(store.executions.tool_names(_MOST))), begin))
    found = {}
    for session in quiet:
        calls = hours.get(session.tool_name, {})
        own = CallsByHour({hour: count for hour, count in calls.items() if hour >= session.baseline_start})
        silent = silence(last[session.tool_name], own, every, now, session.rules.alpha)
        if silent is not None:
            found[session.session_id] = silent
    return found
