"""Rollouts: two versions of a tool that serve at once, and a person's decisions about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from rollguard.model.rollout import Rollout
from rollguard.service.api.common import (
    WRITES,
    Cursor,
    Given,
    Guarded,
    Limit,
    OptionalTool,
    Page,
    Text,
    ToolName,
    api_router,
    number_of,
    page,
)
from rollguard.service.auth import Operating, Reading

router = api_router("/api/v1/rollouts", "rollouts")


class RolloutShown(BaseModel):
    """One rollout, under way or ended."""

    rollout_id: int
    tool_name: str
    kind: str = Field(examples=["canary", "confirm"])
    session_id: int
    old_version: int
    new_version: int
    state: str
    stage: int
    share: float = Field(description="The share of the new version, now.")
    shares: list[float] = Field(description="The shares of all stages.")
    started_at: datetime
    ended_at: datetime | None
    started_by: str
    reason: str | None
    ended_by: str | None
    ended_why: str | None
    arms: dict[str, Any] | None = Field(description="The counted units of both versions.")


class Decision(Given):
    """A person's decision about the rollout of a tool."""

    tool_name: ToolName
    reason: Text | None = None


def shown(rollout: Rollout) -> RolloutShown:
    """Return a rollout as callers see it: without the key of the draw."""
    return RolloutShown.model_validate(rollout.to_dict())


@router.get("")
def list_rollouts(
    guard: Guarded, _caller: Reading, tool: OptionalTool = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[RolloutShown]:
    """List rollouts, newest first."""
    found = guard.store.rollouts.recent(tool, limit + 1, before=number_of(cursor))
    return page(found, limit, lambda one: str(one.rollout_id), shown)


@router.post("/promote", responses=WRITES)
def promote_rollout(guard: Guarded, caller: Operating, wanted: Decision) -> RolloutShown:
    """Make the new version live now. Its session goes on."""
    return shown(guard.monitor.rollouts.promote(wanted.tool_name, by=caller.name, reason=wanted.reason))


@router.post("/pause", responses=WRITES)
def pause_rollout(guard: Guarded, caller: Operating, wanted: Decision) -> RolloutShown:
    """Hold the share. Evidence against the new version, or the time limit, still ends the rollout."""
    return shown(guard.monitor.rollouts.pause(wanted.tool_name, by=caller.name, reason=wanted.reason))


@router.post("/resume", responses=WRITES)
def resume_rollout(guard: Guarded, caller: Operating, wanted: Decision) -> RolloutShown:
    """Let a paused rollout go on. The time of its stage begins again."""
    return shown(guard.monitor.rollouts.resume(wanted.tool_name, by=caller.name, reason=wanted.reason))


@router.post("/abort", responses=WRITES)
def abort_rollout(guard: Guarded, caller: Operating, wanted: Decision) -> RolloutShown:
    """End a rollout: the version that is live serves all calls again."""
    return shown(guard.monitor.rollouts.abort(wanted.tool_name, by=caller.name, reason=wanted.reason))
