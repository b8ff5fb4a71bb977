"""Find monitored tools that fell silent. It is reported, and never acted upon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rollguard.judge.silence import QUIET, Silence, silence
from rollguard.model.session import Session
from rollguard.store import ExecutionStore

_MOST = 100  # quiet tools, and other tools, that one check looks at


def silences_of(store: ExecutionStore, sessions: Sequence[Session], now: datetime) -> dict[int, Silence]:
    """Return the silences of active sessions, by their ids. A tool that is called every hour costs one look-up."""
    active = [session for session in sessions if session.active]
    last = store.last_calls.of([session.tool_name for session in active]) if active else {}
    quiet = [s for s in active if s.tool_name in last and now - last[s.tool_name] >= QUIET]
    quiet = sorted(quiet, key=lambda session: last[session.tool_name], reverse=True)[:_MOST]
    if not quiet:
        return {}
    store.fold()
    names = {session.tool_name for session in quiet}
    names |= set(store.executions.tool_names()[:_MOST])
    hours = store.last_calls.by_hour(sorted(names), min(session.baseline_start for session in quiet))
    found = {}
    for session in quiet:
        start = session.baseline_start
        own = {hour: calls for hour, calls in hours.get(session.tool_name, {}).items() if hour >= start}
        others: Counter[datetime] = Counter()
        for name in names - {session.tool_name}:
            others.update({hour: calls for hour, calls in hours.get(name, {}).items() if hour >= start})
        silent = silence(last[session.tool_name], own, others, now, session.rules.alpha)
        if silent is not None:
            found[session.session_id] = silent
    return found
