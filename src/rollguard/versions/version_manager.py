"""`ToolVersionManager`: list, compare, create and restore the versions of a tool."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from rollguard.compat import Change, changes
from rollguard.model.given import checked_now
from rollguard.model.rollback import Rollback
from rollguard.model.text_diff import unified_diff
from rollguard.model.version import Deployment, Version, VersionRecord
from rollguard.registry import ToolRegistry
from rollguard.rollback import RollbackRunner
from rollguard.store import ExecutionStore


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """The comparison of two versions of a tool.

    Attributes:
        before, after: the versions, with their deployments and metrics.
        diff: the unified diff of the code; empty if the code is the same.
        lines_added, lines_removed: the number of lines that the diff adds and removes.
        changes: the changes that callers notice, the breaking ones first.
        success_rate_change: success rate of `after` minus that of `before`, in [-1, 1]; None if either was never
            called.
        duration_change: change of the mean duration as a share of that of `before`; None if either is unknown.
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
        """Return the changes that break callers."""
        return tuple(change for change in self.changes if change.breaking)


class ToolVersionManager:
    """Lists, compares, creates and restores the versions of tools.

    Args:
        execution_store: the store of the versions and executions.
        tool_registry: the registry of the tools.
    """

    def __init__(self, execution_store: ExecutionStore, tool_registry: ToolRegistry) -> None:
        self._store = execution_store
        self._registry = tool_registry
        self._runner = RollbackRunner(execution_store, tool_registry)

    # --- listing ---------------------------------------------------------------------------------------------------

    def get_version_history(self, tool_name: str) -> list[VersionRecord]:
        """Return every version of the tool, with its deployments and metrics, newest first; empty if it has none."""
        codes = {version.version_number: version for version in self._store.versions.history(tool_name)}
        rows = self._store.reports.version_history(tool_name)
        return [_record(codes[row["version_number"]], row) for row in rows if row["version_number"] in codes]

    def get_version(self, tool_name: str, version_number: int | str) -> VersionRecord:
        """Return one version, by its number or the label of a release, with its deployments and metrics.

        Raises:
            UnknownVersion: the tool has no such version.
        """
        version = self._store.versions.get(tool_name, version_number)
        (row,) = self._store.reports.version_history(tool_name, version.version_number)
        return _record(version, row)

    def get_deployments(self, tool_name: str) -> list[Deployment]:
        """Return every deployment of the tool, newest first. One that a rollback made has the kind `rollback`."""
        return self._store.versions.deployments(tool_name)

    def get_current_version(self, tool_name: str) -> VersionRecord | None:
        """Return the live version; None if the tool was never deployed."""
        live = self._store.versions.live(tool_name)
        return None if live is None else self.get_version(tool_name, live.version_number)

    # --- comparing -------------------------------------------------------------------------------------------------

    def compare_versions(self, tool_name: str, before: int | str, after: int | str) -> VersionComparison:
        """Compare two versions, by number or label: their code, their interface and their metrics.

        Raises:
            UnknownVersion: the tool has no version with one of the numbers.
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
        """Store code as a version without making it live. A deployment or `rollback_to_version` makes it live.

        Args:
            kind: initial, bugfix, enhancement, improvement or rollback; by default initial for the first version,
                improvement for the others.
            parent_version: the version that it was made from; by default the live one.

        Returns:
            The version. If the code is already stored, this is the existing version, unchanged.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid.
            UnknownVersion: the tool has no such parent version.
            ToolLoadError: the code cannot be loaded as a tool, so it could never be restored.
        """
        version = self._registry.keep(
            tool_name, code, created_by=created_by, reason=reason, kind=kind, parent_version=parent_version
        )
        return self.get_version(tool_name, version.version_number)

    def rollback_to_version(
        self,
        tool_name: str,
        version_number: int | str,
        *,
        reason: str,
        requested_by: str = "human",
        now: datetime | None = None,
    ) -> Rollback:
        """Restore any version, also one that was never live, as a recorded rollback.

        It raises the same errors as `RollbackRunner.roll_back_by_hand`.
        """
        return self._runner.roll_back_by_hand(
            tool_name,
            to_version=version_number,
            reason=reason,
            requested_by=requested_by,
            now=checked_now(now),
        )

    def update_version_metrics(self, tool_name: str, version_number: int | None = None) -> list[VersionRecord]:
        """Refresh the rollups, and return the tool's versions with their metrics, newest first.

        Metrics are never stale: each query adds up the rollups and the executions that they do not contain yet. Late
        executions count at once, and metrics stay when raw executions are removed. So a refresh only makes the next
        query cheaper. Repeating it changes nothing.

        Args:
            version_number: return only this version; by default every version.

        Raises:
            UnknownVersion: the tool has no version with this number.
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
