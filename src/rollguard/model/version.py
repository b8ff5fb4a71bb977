"""Versions of a tool, and when each was live."""

from __future__ import annotations

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
    """A version and what became of it, as far as is known now.

    Attributes:
        is_live: whether it is live now.
        times_deployed: how often it went live; 0 for one that never did.
        times_restored: how many of these times a rollback brought it back.
        was_rolled_back: whether a rollback ever took it away.
        rolled_back_reason: why, the latest time.
        executions: calls that name it and, of those that name no version, the calls while it was live.
        success_rate: the share of them that succeeded; None without any.
        avg_duration_ms: how long they took on average; None where no duration is known.
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
    """A version's time of being live. `ended_at` is None for the one that is live now.

    Attributes:
        ended_by: what took its place: `deployment` or `rollback`.
        kind: what made it: `deployment`, or `rollback` where a rollback brought the version back.
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
