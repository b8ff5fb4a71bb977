"""The versions of one tool with their calls: at the cost of this tool alone, however many others there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rollguard.compat import Change, changes
from rollguard.judge import Window
from rollguard.model.rollback import Rollback
from rollguard.model.text_diff import unified_diff
from rollguard.model.version import Deployment, Version
from rollguard.store import ExecutionStore
from rollguard.store.rollups.selection import Selection

_MOST_ROLLBACKS = 20
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class VersionLine:
    """A version and what became of it.

    Attributes:
        lives: the times that it was live, newest first.
        calls: those that name it and, of those that name no version, those while it was live.
        rolled_back_reason: why it was rolled back, of the latest rollbacks of the tool.
    """

    version: Version
    lives: Sequence[Deployment]
    calls: Window
    rolled_back_reason: str | None

    @property
    def version_number(self) -> int:
        """Return its number."""
        return self.version.version_number

    @property
    def is_live(self) -> bool:
        """Return whether it is live now."""
        return any(life.ended_at is None for life in self.lives)

    @property
    def was_rolled_back(self) -> bool:
        """Return whether a rollback ever took it away."""
        return self.rolled_back_reason is not None or any(life.ended_by == "rollback" for life in self.lives)

    @property
    def last_deployed_at(self) -> datetime | None:
        """Return when it went live the last time; None if it never did."""
        return self.lives[0].deployed_at if self.lives else None


@dataclass(frozen=True, slots=True)
class Compared:
    """Two versions of a tool."""

    tool_name: str
    before: VersionLine
    after: VersionLine
    diff: str
    lines_added: int
    lines_removed: int
    changes: tuple[Change, ...]


def changes_of(store: ExecutionStore, name: str) -> tuple[list[Deployment], list[Rollback]]:
    """Return the deployments and the latest rollbacks of a tool, newest first."""
    return store.versions.deployments(name), store.rollbacks.recent(tool_name=name, limit=_MOST_ROLLBACKS)


def version_lines(
    store: ExecutionStore, name: str, now: datetime, deployments: Sequence[Deployment], rollbacks: Sequence[Rollback]
) -> list[VersionLine]:
    """Return the versions of a tool, newest first, all counted by one statement.

    Args:
        deployments, rollbacks: as `changes_of` returns them.
    """
    versions = store.versions.history(name)
    lives = {
        one.version_number: [life for life in deployments if life.version_number == one.version_number]
        for one in versions
    }
    windows = [
        [
            Selection(name, _FIRST, now, only=one.version_number),
            *(Selection(name, life.deployed_at, life.ended_at or now, only=0) for life in lives[one.version_number]),
        ]
        for one in versions
    ]
    reasons = {
        rollback.from_version: rollback.reason for rollback in reversed(rollbacks) if rollback.rollback_successful
    }
    return [
        VersionLine(one, lives[one.version_number], calls, reasons.get(one.version_number))
        for one, calls in zip(versions, store.executions.count(windows), strict=True)
    ]


def compared(
    store: ExecutionStore, name: str, before: int | None, after: int, now: datetime
) -> tuple[Compared, list[int]]:
    """Return two versions side by side, and the numbers of all.

    Args:
        before: by default the one that `after` was made from, else the one before it.

    Raises:
        UnknownVersion: the tool has no such version.
    """
    parent = store.versions.get(name, after).parent_version
    before = before or parent or max(1, after - 1)
    store.versions.get(name, before)
    lines = {line.version_number: line for line in version_lines(store, name, now, *changes_of(store, name))}
    old, new = lines[before], lines[after]
    diff = unified_diff(old.version.code, new.version.code, f"version {before}", f"version {after}")
    found = changes(old.version.code, new.version.code, name)
    return Compared(name, old, new, diff.text, diff.added, diff.removed, found), list(lines)
