"""Rollbacks, what may not be deployed again after one, and how stable the tools are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from rollguard.model.rollback import Quarantined, Rollback
from rollguard.service.api.common import (
    WRITES,
    Cursor,
    Given,
    Guarded,
    Label,
    Limit,
    OptionalTool,
    Page,
    Reason,
    Since,
    ToolName,
    api_router,
    number_of,
    page,
    problems,
)
from rollguard.service.api.deployments import LabelText
from rollguard.service.auth import Operating, Reading

router = api_router("/api/v1", "rollbacks")


class NewRollback(Given):
    """A tool that is to go back."""

    tool_name: ToolName
    reason: Reason
    to_version: Label | None = Field(None, description="By default the last good one.")
    quarantine: bool = Field(default=False, description="Refuse to deploy the replaced code again.")


class NewReleaseRollback(Given):
    """A release whose tools are all to go back."""

    label: LabelText
    reason: Reason
    quarantine: bool = False


class ReleaseRolledBack(BaseModel):
    """What became of a release's tools."""

    rollbacks: list[Rollback]
    left: list[str] = Field(description="Which tools were left as they are, and why.")


class Lift(Given):
    """A version that may be deployed again."""

    tool_name: ToolName
    version_number: Annotated[int, Field(ge=1, lt=2**31)]


class Stability(BaseModel):
    """How often a tool's deployments were rolled back."""

    tool_name: str
    total_deployments: int
    total_rollbacks: int
    rollback_rate: float | None
    avg_hours_to_rollback: float | None
    avg_post_deployment_success_rate: float | None


@router.get("/rollbacks", responses=problems(404))
def list_rollbacks(
    guard: Guarded,
    _caller: Reading,
    tool: OptionalTool = None,
    since: Since = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Rollback]:
    """List rollbacks, newest first: from which version to which, why, and their state."""
    number = number_of(cursor)
    before = None if number is None else guard.store.rollbacks.get(number)
    found = guard.store.rollbacks.recent(tool_name=tool, since=since, limit=limit + 1, before=before)
    return page(found, limit, lambda one: str(one.rollback_id), lambda one: one)


@router.post("/rollbacks", status_code=201, response_description="It is recorded.", responses=WRITES)
def roll_back(guard: Guarded, caller: Operating, wanted: NewRollback) -> Rollback:
    """Restore an earlier version of a tool now, and close the tool's active session."""
    return guard.monitor.roll_back(**wanted.model_dump(), requested_by=caller.name)


@router.post("/releases/rollback", status_code=201, response_description="They are recorded.", responses=WRITES)
def roll_back_release(guard: Guarded, caller: Operating, wanted: NewReleaseRollback) -> ReleaseRolledBack:
    """Restore what was live before a release, for all of its tools."""
    done, left = guard.monitor.roll_back_release(**wanted.model_dump(), requested_by=caller.name)
    return ReleaseRolledBack(rollbacks=done, left=left)


@router.get("/quarantine")
def list_quarantine(guard: Guarded, _caller: Reading, tool: OptionalTool = None) -> list[Quarantined]:
    """List the code that was rolled back and may not be deployed again."""
    return guard.store.quarantine.in_force(tool)


@router.post("/quarantine/lift", responses=WRITES)
def lift_quarantine(guard: Guarded, caller: Operating, wanted: Lift) -> Quarantined:
    """Allow a version to be deployed again."""
    return guard.store.quarantine.lift(wanted.tool_name, wanted.version_number, by=caller.name, now=datetime.now(UTC))


@router.get("/stability")
def stability(guard: Guarded, _caller: Reading) -> list[Stability]:
    """List how many of each tool's deployments were rolled back, the least stable tool first."""
    rows: list[dict[str, Any]] = guard.store.reports.deployment_stability()
    return [Stability.model_validate(row) for row in rows]
