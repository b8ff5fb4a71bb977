"""`ToolVersionManager`: every version of a tool, and the way back to any of them."""

from __future__ import annotations

from datetime import UTC, datetime

from rollguard.registry import ToolRegistry
from rollguard.rollback import RollbackRunner
from rollguard.store import Deployment, ExecutionStore, Rollback, Version


class ToolVersionManager:
    """The versions of tools: which there are, which is live, and how to bring one back.

    Args:
        execution_store: where versions are kept.
        tool_registry: whose folder holds the tools.
    """

    def __init__(self, execution_store: ExecutionStore, tool_registry: ToolRegistry) -> None:
        self._store = execution_store
        self._runner = RollbackRunner(execution_store, tool_registry)

    def get_version_history(self, tool_name: str) -> list[Version]:
        """Every version of the tool, newest first; empty for a tool that has none."""
        return self._store.versions.history(tool_name)

    def get_deployments(self, tool_name: str) -> list[Deployment]:
        """Every time a version of the tool went live, newest first."""
        return self._store.versions.deployments(tool_name)

    def get_current_version(self, tool_name: str) -> Version | None:
        """The version that is live; None where the tool was never deployed."""
        live = self._store.versions.live(tool_name)
        return None if live is None else self._store.versions.get(tool_name, live.version_number)

    def rollback_to_version(
        self,
        tool_name: str,
        version_number: int,
        *,
        reason: str,
        requested_by: str = "human",
        now: datetime | None = None,
    ) -> Rollback:
        """Bring a version back, as a recorded rollback. Raises as `RollbackRunner.roll_back_by_hand` does."""
        return self._runner.roll_back_by_hand(
            tool_name,
            to_version=version_number,
            reason=reason,
            requested_by=requested_by,
            now=(now or datetime.now(UTC)).astimezone(UTC),
        )
