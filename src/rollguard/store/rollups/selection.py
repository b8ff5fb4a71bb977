"""Which executions belong to the two windows of a session, for rollups and raw rows alike. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from rollguard.judge.baseline import LeftOut, without
from rollguard.model.session import Session

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)


class Selection(NamedTuple):
    """A filter of executions: those of one tool in [start, end).

    Version 0 stands for executions that name no version.

    Attributes:
        only: count executions of this version alone; None counts every version.
        but: count no executions of these versions.
        leave_out: error types whose failures do not count.
        collapse: seconds; a failed call without a `request_id` does not count if the same call is made again within
            them. 0 counts every call.
        repeated: whether each check counts it again, so that caching its first hour pays off.
    """

    tool_name: str
    start: datetime
    end: datetime
    only: int | None = None
    but: tuple[int, ...] = ()
    leave_out: tuple[str, ...] = ()
    collapse: float = 0.0
    repeated: bool = False


def baseline_of(session: Session, until: datetime) -> list[Selection]:
    """Return the executions before the deployment, without what is no baseline (`Session.left_out`).

    Calls of the monitored version are not among them: their clock was behind.

    Args:
        until: the moment of the check. With `same_hours` and the threshold rule the baseline has the hours of the
            session so far. The evidence rule needs a baseline that does not change, so it has those of the whole
            session.
    """
    version, out, counted = session.version_number, _left_out(session), counted_by(session)
    selections = []
    for start, end in _before(session, until):
        own = () if version is None else (version,)
        selections += good_calls(session.tool_name, start, end, out, but=own, **counted)
        if version is not None and version not in out.every_version and session.live_before is not None:
            # Its earlier deployments were before this one too.
            for a, b in without([(start, min(session.live_before, end))], (*out.unknown, *out.outages)):
                selections.append(Selection(session.tool_name, a, b, only=version, **counted))
    return selections


def good_calls(
    tool_name: str, start: datetime, end: datetime, out: LeftOut, *, but: tuple[int, ...] = (), **counted: Any
) -> list[Selection]:
    """Return the executions in [start, end) without what is left out, and without the versions `but`."""
    versions = tuple(dict.fromkeys((*but, *out.every_version)))
    selections = []
    for first, last in without([(start, end)], (*out.unknown, *out.outages)):
        unnamed = without([(first, last)], out.unnamed)
        if unnamed == [(first, last)]:
            selections.append(Selection(tool_name, first, last, but=versions, **counted))
        else:
            selections.append(Selection(tool_name, first, last, but=(0, *versions), **counted))
            selections += [Selection(tool_name, a, b, only=0, **counted) for a, b in unnamed]
    return selections


def current_of(session: Session, until: datetime) -> list[Selection]:
    """Return the executions since the deployment, up to and including `until`."""
    end = until + timedelta(microseconds=1)  # times are whole microseconds
    return [selection._replace(repeated=True) for selection in since(session, session.deployment_time, end)]


def since(session: Session, start: datetime, end: datetime) -> list[Selection]:
    """Return the current executions in [start, end); `start` is the deployment or later."""
    name, version, deployed, counted = (
        session.tool_name,
        session.version_number,
        session.deployment_time,
        counted_by(session),
    )
    if version is None:
        return [Selection(name, start, end, **counted)]
    earliest = start
    if start <= deployed:
        # A clock may be behind, but not by more than the baseline, and not into an earlier deployment of the version.
        earliest = min(deployed, max(session.baseline_start, session.live_before or session.baseline_start))
    return [Selection(name, earliest, end, only=version, **counted), Selection(name, start, end, only=0, **counted)]


def replayed_of(session: Session, until: datetime) -> tuple[list[Selection], list[Selection]]:
    """Return `current_of` in two parts: before the minute of the deployment, and from that minute on.

    The second part is counted minute by minute. If the monitored version is no longer live, its last minute is taken
    whole, because nothing of it comes afterwards; so no raw rows are needed.
    """
    minute = session.deployment_time.replace(second=0, microsecond=0)
    current = current_of(session, until)
    early = [selection._replace(end=min(selection.end, minute)) for selection in current if selection.start < minute]
    rest = [selection._replace(start=max(selection.start, minute)) for selection in current if selection.end > minute]
    if session.status in ("rolled_back", "superseded"):
        over = until.replace(second=0, microsecond=0) + _MINUTE
        rest = [s._replace(end=max(s.end, over)) if s.only == session.version_number else s for s in rest]
    return early, rest


def counted_by(session: Session) -> dict[str, Any]:
    """Return what the session's rules do not count, as arguments of `Selection`."""
    return {"leave_out": session.rules.caller_errors, "collapse": session.rules.collapse_retries}


def _left_out(session: Session) -> LeftOut:
    return session.left_out or LeftOut(session.deployment_time)


def _before(session: Session, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return the times of the baseline, the latest first."""
    start, deployed = session.baseline_begins, session.deployment_time
    if session.rules.baseline == "before":
        return [(start, deployed)]
    end = session.window_end if session.rules.decision == "evidence" else max(until, deployed + _HOUR)
    first = deployed.replace(minute=0, second=0, microsecond=0)
    last = min(end, first + _WEEK)  # a week has every hour once
    if last != last.replace(minute=0, second=0, microsecond=0):
        last = last.replace(minute=0, second=0, microsecond=0) + _HOUR
    weeks = range(1, (deployed - start) // _WEEK + 1)
    times = [(max(start, first - week * _WEEK), min(deployed, last - week * _WEEK)) for week in weeks]
    return [(begin, end) for begin, end in times if begin < end]


def restored_of(session: Session, version: int, restored_at: datetime, until: datetime) -> list[Selection]:
    """Return the calls of a restored version, or of none, since its rollback, up to and including `until`."""
    name, end, counted = session.tool_name, until + timedelta(microseconds=1), counted_by(session)
    return [Selection(name, restored_at, end, only=only, **counted) for only in (version, 0)]
