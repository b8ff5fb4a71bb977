"""`ToolVersionManager`: every version of a tool, what became of it, and the way back to any of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime

from rollguard.compat import Change, changes
from rollguard.model.rollback import Rollback
from rollguard.model.version import Deployment, Version, VersionRecord
from rollguard.registry import ToolRegistry
from rollguard.rollback import RollbackRunner
from rollguard.store import ExecutionStore
from rollguard.versions.text_diff import unified_diff


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions of a tool side by side.

    Attributes:
        before, after: the versions with what became of each.
        diff: what changed in the code, as a unified diff; empty where the code is the same.
        lines_added, lines_removed: how much of it.
        changes: what callers notice, the breaking changes first.
        success_rate_change: how much more often `after` succeeds, as a share; None where either was never called.
        duration_change: how much longer a call of `after` takes, as a share; None where either is not known.
    """

    tool_name: str
    before: VersionRecord
    after: VersionRecord
    diff: str
    lines_added: int
    lines_removed: int
    changes: tuple[Change, ...]
    success_rate_change: float | None
    duration_change: float | None

    @property
    def breaking(self) -> tuple[Change, ...]:
        """The changes that break callers."""
        return tuple(change for change in self.changes if change.breaking)


class ToolVersionManager:
    """The versions of tools: which there are, how each did, what changed between them, and how to bring one back.

    Args:
        execution_store: where versions are kept.
        tool_registry: whose folder holds the tools.
    """

    def __init__(self, execution_store: ExecutionStore, tool_registry: ToolRegistry) -> None:
        self._store = execution_store
        self._registry = tool_registry
        self._runner = RollbackRunner(execution_store, tool_registry)

    # --- seeing ----------------------------------------------------------------------------------------------------

    def get_version_history(self, tool_name: str) -> list[VersionRecord]:
        """Every version of the tool with what became of it, newest first; empty for a tool that has none."""
        codes = {version.version_number: version for version in self._store.versions.history(tool_name)}
        rows = self._store.reports.version_history(tool_name)
        return [_record(codes[row["version_number"]], row) for row in rows if row["version_number"] in codes]

    def get_version(self, tool_name: str, version_number: int) -> VersionRecord:
        """One version with what became of it.

        Raises:
            UnknownVersion: there is none of that number.
        """
        version = self._store.versions.get(tool_name, version_number)
        (row,) = self._store.reports.version_history(tool_name, version_number)
        return _record(version, row)

    def get_deployments(self, tool_name: str) -> list[Deployment]:
        """Every time a version of the tool went live, newest first; those that a rollback made are of its kind."""
        return self._store.versions.deployments(tool_name)

    def get_current_version(self, tool_name: str) -> VersionRecord | None:
        """The version that is live; None where the tool was never deployed."""
        live = self._store.versions.live(tool_name)
        return None if live is None else self.get_version(tool_name, live.version_number)

    # --- comparing -------------------------------------------------------------------------------------------------

    def compare_versions(self, tool_name: str, before: int, after: int) -> VersionComparison:
        """What changed from one version to another, in the code, for callers, and in how it did.

        Raises:
            UnknownVersion: there is no version of one of the numbers.
        """
        old, new = self.get_version(tool_name, before), self.get_version(tool_name, after)
        diff = unified_diff(old.code, new.code, f"{tool_name}, version {before}", f"{tool_name}, version {after}")
        return VersionComparison(
            tool_name=tool_name,
            before=old,
            after=new,
            diff=diff.text,
            lines_added=diff.added,
            lines_removed=diff.removed,
            changes=changes(old.code, new.code, tool_name),
            success_rate_change=_change(old.success_rate, new.success_rate),
            duration_change=_relative(old.avg_duration_ms, new.avg_duration_ms),
        )

    # --- changing --------------------------------------------------------------------------------------------------

    def create_version(
        self,
        tool_name: str,
        code: str | bytes,
        *,
        kind: str | None = None,
        created_by: str = "human",
        reason: str | None = None,
        parent_version: int | None = None,
    ) -> VersionRecord:
        """Keep code as a version without making it live; `rollback_to_version` or a deployment of it does that.

        Args:
            kind: initial, bugfix, enhancement, improvement or rollback; by default initial for the first, else
                improvement.
            parent_version: the version it was made from; by default the one that is live.

        Returns:
            The version. Code that is kept already is that same version, and stays as it was written down.

        Raises:
            InvalidToolName, InvalidInput: a value cannot be meant.
            UnknownVersion: there is no such parent.
            ToolLoadError: the code is not a tool that can be loaded, so that it could never be brought back.
        """
        version = self._registry.keep(
            tool_name, code, created_by=created_by, reason=reason, kind=kind, parent_version=parent_version
        )
        return self.get_version(tool_name, version.version_number)

    def rollback_to_version(
        self,
        tool_name: str,
        version_number: int,
        *,
        reason: str,
        requested_by: str = "human",
        now: datetime | None = None,
    ) -> Rollback:
        """Bring a version back, also one that was never live, as a recorded rollback.

        Raises as `RollbackRunner.roll_back_by_hand` does.
        """
        return self._runner.roll_back_by_hand(
            tool_name,
            to_version=version_number,
            reason=reason,
            requested_by=requested_by,
            now=(now or datetime.now(UTC)).astimezone(UTC),
        )

    def update_version_metrics(self, tool_name: str, version_number: int | None = None) -> list[VersionRecord]:
        """Bring the metrics up to date, and return the tool's versions with them, newest first.

        A version's metrics are no numbers of their own: the views add them up from the rollups and from what is
        counted and not folded into them yet, whenever they are asked. So they are never stale, an execution that
        arrives late counts at once, and they stay when the raw executions are removed. What this does is to fold, which
        makes the next reading cheap; to do it again changes nothing.

        Args:
            version_number: only this version's; by default every version's.

        Raises:
            UnknownVersion: there is none of that number.
            StoreUnavailable: the database cannot be reached or written.
        """
        self._store.fold()
        if version_number is None:
            return self.get_version_history(tool_name)
        return [self.get_version(tool_name, version_number)]


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _relative(before: float | None, after: float | None) -> float | None:
    return None if not before or after is None else after / before - 1


def _record(version: Version, row: dict[str, object]) -> VersionRecord:
    known = {field.name: getattr(version, field.name) for field in fields(Version)}
    return VersionRecord(**known, **{f.name: row[f.name] for f in fields(VersionRecord) if f.name not in known})  # type: ignore[arg-type]
