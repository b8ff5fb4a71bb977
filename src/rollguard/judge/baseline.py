"""What is no baseline: the calls of versions that were bad, and the minutes of an outage. Pure.

A version is bad if its latest life ended in a rollback for its health, or if its latest session found it regressed and
nothing undid that. All its calls are left out: those that name it, and those that name none in its lives. Leaving out
whole versions keeps the bound of `rollguard.judge.evidence` for the first false rollback of a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

Times = tuple[datetime, datetime]  # [start, end)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Life:
    """A time in which a version was live.

    Attributes:
        version: None if it is not known; then its calls are known by its times alone.
        end: None while it is live.
        rolled_back: whether a rollback ended it.
        by_hand: whether a person requested that rollback and did not quarantine the version.
    """

    version: int | None
    start: datetime
    end: datetime | None
    rolled_back: bool = False
    by_hand: bool = False

    @property
    def name(self) -> str:
        """Return what its version is called."""
        return day(self.start) if self.version is None else f"version {self.version}"


@dataclass(frozen=True, slots=True)
class Watched:
    """What the session of an earlier deployment found.

    Attributes:
        healthy: whether its last check, or the whole session, found it healthy.
        regressed: whether it was found regressed, and not rolled back.
    """

    session_id: int
    version: int | None
    start: datetime
    healthy: bool
    regressed: bool


@dataclass(frozen=True)
class History:
    """The deployments of one tool: its lives and what their sessions found, both in their order."""

    lives: Sequence[Life] = ()
    watched: Sequence[Watched] = ()

    def before(self, session_id: int, deployed: datetime) -> History:
        """Return the history before a session. What began later, or at the same moment, is not in it."""
        watched = [one for one in self.watched if one.session_id < session_id and one.start < deployed]
        known = [life for life in self.lives if life.start < deployed]
        starts = sorted({deployed, *(life.start for life in known), *(one.start for one in watched)})
        unknown = [
            Life(None, one.start, next(start for start in starts if start > one.start))
            for one in watched
            if one.version is None
        ]
        lives = [replace(life, end=min(life.end or deployed, deployed)) for life in [*known, *unknown]]
        return History(sorted(lives, key=lambda life: life.start), watched)

    @cached_property
    def bad_versions(self) -> frozenset[int]:
        """Return the versions whose calls are no baseline."""
        latest = {life.version: life for life in self.lives}
        found = {one.version: one for one in self.watched}
        undone = {
            version
            for version, life in latest.items()
            if life.rolled_back and not (life.by_hand and version in found and found[version].healthy)
        }
        regressed = {version for version, one in found.items() if one.regressed}
        return frozenset(version for version in undone | regressed if version is not None)

    @cached_property
    def _bad_starts(self) -> frozenset[datetime]:
        return frozenset(one.start for one in self.watched if one.version is None and one.regressed)

    def good(self, life: Life) -> bool:
        """Return whether the calls of one of its lives are baseline."""
        return life.start not in self._bad_starts if life.version is None else life.version not in self.bad_versions


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a session's baseline does not count, and how far it reaches back.

    Attributes:
        as_of: when it was found.
        versions: versions that were live in its time and whose calls do not count.
        unnamed: times in which calls that name no version do not count: the lives of these versions.
        unknown: lives of bad versions that are not known, in which no call counts.
        outages: whole minutes in which other tools failed, so that no call counts.
        calls: how many calls of the contract's baseline were left out.
        start: when the baseline begins, if it reaches further back than its days; else None.
        older: bad versions from before its time, the latest ones; a process may still call them.
    """

    as_of: datetime
    versions: tuple[int, ...] = ()
    unnamed: tuple[Times, ...] = ()
    unknown: tuple[Times, ...] = ()
    outages: tuple[Times, ...] = ()
    calls: int = 0
    start: datetime | None = None
    older: tuple[int, ...] = ()

    @property
    def every_version(self) -> tuple[int, ...]:
        """Return all versions whose calls do not count."""
        return (*self.versions, *self.older)

    @property
    def anything(self) -> bool:
        """Return whether anything may be left out."""
        return bool(self.every_version or self.unnamed or self.unknown or self.outages)

    @property
    def outage_minutes(self) -> int:
        """Return the number of minutes in which other tools failed."""
        return sum((end - start) // _MINUTE for start, end in self.outages)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-safe mapping, for the session and the decision record; what is empty is not in it."""
        kept: dict[str, Any] = {"as_of": self.as_of.isoformat()}
        kept |= {
            name: [[a.isoformat(), b.isoformat()] for a, b in times]
            for name in _TIMES
            if (times := getattr(self, name))
        }
        kept |= {name: list(numbers) for name in _VERSIONS if (numbers := getattr(self, name))}
        kept |= {"calls": self.calls} if self.calls else {}
        return kept | ({"start": self.start.isoformat()} if self.start else {})

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote."""
        unnamed, unknown, outages = (tuple((_moment(a), _moment(b)) for a, b in kept.get(name, ())) for name in _TIMES)
        versions, older = (tuple(map(int, kept.get(name, ()))) for name in _VERSIONS)
        start = _moment(kept["start"]) if "start" in kept else None
        calls = int(kept.get("calls", 0))
        return cls(_moment(kept["as_of"]), versions, unnamed, unknown, outages, calls, start, older)


_TIMES = ("unnamed", "unknown", "outages")
_VERSIONS = ("versions", "older")
_MOST_OLDER = 100


def left_out(history: History, begins: datetime, as_of: datetime, outages: Sequence[Times] = ()) -> LeftOut:
    """Return what a baseline that begins at `begins` does not count.

    Args:
        history: the deployments before the session.
        outages: whole minutes in which other tools failed.
    """
    bad = [life for life in history.lives if not history.good(life)]
    known = [life for life in bad if life.version is not None]
    versions = {life.version for life in known if life.version and (life.end is None or life.end > begins)}
    older = dict.fromkeys(life.version for life in reversed(known) if life.version and life.version not in versions)
    return LeftOut(
        as_of,
        versions=tuple(sorted(versions)),
        unnamed=_times(known, begins),
        unknown=_times((life for life in bad if life.version is None), begins),
        outages=tuple(outages),
        older=tuple(older)[:_MOST_OLDER],
    )


def reaches(history: History, start: datetime, window: timedelta) -> list[datetime]:
    """Return where a baseline may begin instead of `start`, to reach an earlier good version: the latest first.

    From there it has the days of a baseline up to the end of that version's life, or to `start` if it was live then.
    Before the first life is one more, of calls that name no version.
    """
    first = min((life.start for life in history.lives), default=start)
    ends = {life.end or start for life in history.lives if history.good(life) and life.start < start} | {first}
    return sorted({_hour(min(end, start) - window) for end in ends}, reverse=True)


def without(times: Iterable[Times], holes: Iterable[Times]) -> list[Times]:
    """Return the same times without the holes."""
    kept = [(start, end) for start, end in times if start < end]
    for a, b in holes:
        kept = [
            part for start, end in kept for part in ((start, min(end, a)), (max(start, b), end)) if part[0] < part[1]
        ]
    return kept


def day(deployed: datetime) -> str:
    """Return what a deployment of an unknown version is called."""
    return f"the deployment of {deployed:%Y-%m-%d %H:%M} UTC"


def _times(lives: Iterable[Life], begins: datetime) -> tuple[Times, ...]:
    return tuple(
        (life.start, life.end) for life in lives if life.end is not None and max(life.start, begins) < life.end
    )


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
