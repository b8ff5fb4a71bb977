"""Versions of a tool, and their deployments."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable, numbered state of a tool's code."""

    tool_name: str
    version_number: int
    code: bytes
    sha256: str
    kind: str
    created_by: str
    reason: str | None
    parent_version: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VersionRecord(Version):
    """A version with its deployments and metrics.

    Attributes:
        is_live: whether it is live now.
        times_deployed: how often it went live.
        times_restored: how often a rollback made it live.
        was_rolled_back: whether a rollback ever replaced it.
        rolled_back_reason: the reason of the latest such rollback.
        executions: calls that name it, and calls that name no version while it was live.
        success_rate: the share of them that succeeded, in [0, 1]; None without calls.
        avg_duration_ms: their mean duration in milliseconds; None without durations.
    """

    is_live: bool
    times_deployed: int
    times_restored: int
    first_deployed_at: datetime | None
    last_deployed_at: datetime | None
    was_rolled_back: bool
    rolled_back_reason: str | None
    executions: int
    successes: int
    success_rate: float | None
    avg_duration_ms: float | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A period in which a version is live. `ended_at` is None for the live one.

    Attributes:
        ended_by: what ended it: `deployment` or `rollback`.
        kind: what began it: `deployment` or `rollback`.
        edit_began_at: of an edit in the folder: when the first of its saves was served; saves that follow one another
            quickly are one edit. None for any other deployment.
        release_id: the release that it belongs to, if any.
    """

    deployment_id: int
    tool_name: str
    version_number: int
    deployed_at: datetime
    deployed_by: str
    reason: str | None
    ended_at: datetime | None
    ended_by: str | None
    kind: str
    edit_began_at: datetime | None = None
    release_id: int | None = None

    @property
    def monitored_from(self) -> datetime:
        """Return when its session begins."""
        return self.edit_began_at or self.deployed_at


def last_good(lives: Iterable[Deployment], *, not_one_of: Collection[int]) -> int | None:
    """Return the version that was live last, was not rolled back, and is not one of the given versions.

    A save that another one of the same edit replaced is left out: nobody knows whether it was good.

    Args:
        lives: every deployment of a tool, newest first.
    """
    seen, edits = set(not_one_of), set[datetime]()
    for life in lives:
        if life.edit_began_at is not None:
            if life.edit_began_at in edits:
                continue
            edits.add(life.edit_began_at)
        if life.version_number in seen:
            continue
        seen.add(life.version_number)
        if life.ended_by != "rollback":
            return life.version_number
    return None
