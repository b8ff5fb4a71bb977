"""Find monitored tools that fell silent. It is reported, and never acted upon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rollguard.judge.silence import QUIET, CallsByHour, Silence, silence
from rollguard.model.session import Session
from rollguard.store import ExecutionStore

_MOST, _MOST_QUIET = 100, 25  # other tools, and quiet ones, that one check looks at
_KEPT = 500  # sessions of quiet tools whose calls are remembered, some 10 KB each

_Read = tuple[datetime, datetime, datetime]  # a tool's last call, the begin of its baseline, the hour of the read


class Silences:
    """Finds the silences of active sessions. A tool that is called every hour costs one look-up.

    The calls of a quiet tool are read once an hour: until its next call they are the same, but for late ones.

    Args:
        store: where executions are kept.
    """

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._own: dict[int, tuple[_Read, CallsByHour]] = {}  # by session, the latest read last

    def of(self, sessions: Sequence[Session], now: datetime) -> dict[int, Silence]:
        """Return the silences of sessions by their ids, of a few that fell quiet most recently."""
        active = [session for session in sessions if session.active]
        last = self._store.last_calls.of([session.tool_name for session in active]) if active else {}
        quiet = [s for s in active if s.tool_name in last and now - last[s.tool_name] >= QUIET]
        quiet = sorted(quiet, key=lambda session: last[session.tool_name], reverse=True)[:_MOST_QUIET]
        if not quiet:
            return {}
        self._store.fold()
        names = {session.tool_name for session in quiet} | set(self._store.executions.tool_names(_MOST))
        begin = min(session.baseline_start for session in quiet)
        every = CallsByHour(self._store.last_calls.of_all(sorted(names), begin))
        calls = self._calls(quiet, {s.session_id: (last[s.tool_name], s.baseline_start, _hour(now)) for s in quiet})
        found = {}
        for session in quiet:
            own = calls[session.session_id]
            silent = silence(last[session.tool_name], own, every, now, session.rules.alpha)
            if silent is not None:
                found[session.session_id] = silent
        return found

    def _calls(self, quiet: Sequence[Session], reads: Mapping[int, _Read]) -> dict[int, CallsByHour]:
        """Return the calls since the begin of each session's baseline; those that are not remembered are read."""
        kept = {number: self._own.get(number) for number in reads}
        found = {number: own[1] for number, own in kept.items() if own is not None and own[0] == reads[number]}
        unread = [session for session in quiet if session.session_id not in found]
        if unread:
            names, begin = {session.tool_name for session in unread}, min(session.baseline_start for session in unread)
            hours = self._store.last_calls.by_hour(sorted(names), begin)
            for session in unread:
                calls = hours.get(session.tool_name, {})
                own = CallsByHour({hour: count for hour, count in calls.items() if hour >= session.baseline_start})
                found[session.session_id] = own
                self._own.pop(session.session_id, None)
                self._own[session.session_id] = reads[session.session_id], own
            for number in list(self._own)[:-_KEPT]:
                self._own.pop(number, None)  # another thread may do the same
        return found


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
