"""Which executions a session's two windows hold, said once for the rollups and for the raw rows. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rollguard.model.session import Session

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Executions of one tool in [start, end): all of them, `only` those of a version, or all `but` those of one.

    Version 0 stands for executions that name none.

    Attributes:
        leave_out: error types whose failures are not counted.
        collapse: a failed call without a `request_id` that is made again within so many seconds is not counted; 0
            guesses nothing.
        again: whether it is counted again and again, so that what its first hour held is worth remembering.
    """

    tool_name: str
    start: datetime
    end: datetime
    only: int | None = None
    but: int | None = None
    leave_out: tuple[str, ...] = ()
    collapse: float = 0.0
    again: bool = False


def baseline_of(session: Session, until: datetime) -> list[Stretch]:
    """What was before the deployment, but for calls of the watched version itself whose clock was behind.

    Args:
        until: the moment of the check. With `same_hours` and the threshold rule the hours compared are those that the
            watch has seen by then. The evidence rule needs a baseline that does not change, so there they are the
            hours of the whole watch.
    """
    name, version, counted = session.tool_name, session.version_number, counted_by(session)
    stretches = []
    for start, end in _before(session, until):
        if version is None:
            stretches.append(Stretch(name, start, end, **counted))
            continue
        stretches.append(Stretch(name, start, end, but=version, **counted))
        if session.live_before is not None:  # what it did in an earlier life was before this deployment too
            stretches.append(Stretch(name, start, min(session.live_before, end), only=version, **counted))
    return stretches


def current_of(session: Session, until: datetime) -> list[Stretch]:
    """What happened since the deployment, up to and including `until`."""
    end = until + timedelta(microseconds=1)  # times are whole microseconds
    return [replace(stretch, again=True) for stretch in since(session, session.deployment_time, end)]


def since(session: Session, start: datetime, end: datetime) -> list[Stretch]:
    """What counts as current in [start, end), where `start` is the deployment or later."""
    name, version, deployed, counted = (
        session.tool_name,
        session.version_number,
        session.deployment_time,
        counted_by(session),
    )
    if version is None:
        return [Stretch(name, start, end, **counted)]
    earliest = start
    if start <= deployed:
        # A clock may be behind, but not by more than the baseline, and not back into the version's earlier life.
        earliest = min(deployed, max(session.baseline_start, session.live_before or session.baseline_start))
    return [Stretch(name, earliest, end, only=version, **counted), Stretch(name, start, end, only=0, **counted)]


def replayed_of(session: Session, until: datetime) -> tuple[list[Stretch], list[Stretch]]:
    """`current_of` in two parts: what came before the minute of the deployment, and from there on.

    The second is made to be told minute by minute. Where the watched version's time is over, its last minute is taken
    whole, which needs no raw rows: nothing of it comes afterwards.
    """
    minute = session.deployment_time.replace(second=0, microsecond=0)
    current = current_of(session, until)
    early = [replace(stretch, end=min(stretch.end, minute)) for stretch in current if stretch.start < minute]
    rest = [replace(stretch, start=max(stretch.start, minute)) for stretch in current if stretch.end > minute]
    if session.status in ("rolled_back", "superseded"):
        over = until.replace(second=0, microsecond=0) + _MINUTE
        rest = [replace(s, end=max(s.end, over)) if s.only == session.version_number else s for s in rest]
    return early, rest


def counted_by(session: Session) -> dict[str, Any]:
    """What of a stretch is not counted, by the session's rules."""
    return {"leave_out": session.rules.caller_errors, "collapse": session.rules.collapse_retries}


def _before(session: Session, until: datetime) -> list[tuple[datetime, datetime]]:
    """The times of the baseline, the latest first."""
    start, deployed = session.baseline_start, session.deployment_time
    if session.rules.baseline == "before":
        return [(start, deployed)]
    watched = session.window_end if session.rules.decision == "evidence" else max(until, deployed + _HOUR)
    first = deployed.replace(minute=0, second=0, microsecond=0)
    last = min(watched, first + _WEEK)  # a week has every hour once
    if last != last.replace(minute=0, second=0, microsecond=0):
        last = last.replace(minute=0, second=0, microsecond=0) + _HOUR
    weeks = range(1, session.rules.baseline_window_days // 7 + 1)
    times = [(max(start, first - week * _WEEK), min(deployed, last - week * _WEEK)) for week in weeks]
    return [(begin, end) for begin, end in times if begin < end]


def restored_of(session: Session, version: int, restored_at: datetime, until: datetime) -> list[Stretch]:
    """Calls of a restored version since its rollback, up to and including `until`; those that name none count too."""
    name, end, counted = session.tool_name, until + timedelta(microseconds=1), counted_by(session)
    return [Stretch(name, restored_at, end, only=only, **counted) for only in (version, 0)]
