"""Deployments and releases: what is live, what was, and how a version goes live."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from rollguard.compat import Change
from rollguard.model.release import Release, ReleasedTool
from rollguard.model.version import Deployment
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
    problems,
)
from rollguard.service.auth import Operating, Reading

router = api_router("/api/v1", "deployments")

_LONGEST_CODE = 1_048_576
Code = Annotated[str, Field(max_length=_LONGEST_CODE, examples=["def weather(city: str) -> str:\n    return 'sun'\n"])]
Share = Annotated[float, Field(gt=0, lt=1)]
LabelText = Annotated[str, Field(min_length=1, max_length=128, examples=["v2.1"])]


class NewDeployment(Given):
    """Code that is to go live."""

    tool_name: ToolName
    code: Code
    reason: Text | None = None
    kind: Literal["initial", "bugfix", "enhancement", "improvement"] | None = None
    force: bool = Field(default=False, description="Deploy code that was rolled back too, and lift its quarantine.")
    strict: bool = Field(default=False, description="Refuse code that breaks callers.")
    watch: bool = Field(default=True, description="Monitor it.")
    already_live: bool = Field(default=False, description="It is deployed already: only record and monitor it.")
    rehearse: bool = Field(default=False, description="Deploy it only if it passes a rehearsal on recorded calls.")
    rollout: Annotated[list[Share], Field(max_length=20)] | None = Field(
        None, description="Rising shares at which it first serves beside the live version; by default as the rules say."
    )


class NewRelease(Given):
    """Tools that are to go live together."""

    label: LabelText
    tools: dict[str, Code] = Field(min_length=1, max_length=1_000, description="The code of each tool by its name.")
    metadata: dict[str, Any] | None = None
    reason: Text | None = None
    force: bool = False
    strict: bool = False
    watch: bool = True
    replace: bool = Field(default=False, description="End the rollouts of its tools; else they refuse it.")


class Deployed(BaseModel):
    """The result of a deployment."""

    model_config = ConfigDict(from_attributes=True)

    tool_name: str
    version_number: int
    session_id: int | None = Field(description="The session that monitors it; null if it is not monitored.")
    changed: bool = Field(description="False if the code was live already.")
    put_back: bool = Field(description="Whether its file held other code and was restored.")
    changes: list[Change] = Field(description="What callers notice, breaking changes first.")
    rollout_id: int | None = Field(None, description="The rollout in which it serves beside the live version.")


class Released(BaseModel):
    """The result of a release."""

    model_config = ConfigDict(from_attributes=True)

    label: str
    release_id: int
    state: str
    new: bool = Field(description="False if the label was released before.")
    versions: dict[str, int]
    changed: list[str] = Field(description="The tools that it made live.")
    added: list[str] = Field(description="The tools that had no live version before; a rollback withdraws them.")
    sessions: dict[str, int] = Field(description="The session that monitors each changed tool.")
    changes: dict[str, list[Change]]


@router.get("/deployments", responses=problems(422))
def list_deployments(
    guard: Guarded, _caller: Reading, tool: OptionalTool = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[Deployment]:
    """List deployments, newest first. The live one of a tool has no `ended_at`."""
    found = guard.store.versions.deployments(tool, limit=limit + 1, before=number_of(cursor))
    return page(found, limit, lambda one: str(one.deployment_id), lambda one: one)


@router.post(
    "/deployments",
    status_code=201,
    response_description="It is live, and monitored if you asked for it.",
    responses={200: {"model": Deployed, "description": "The code was live already."}, **WRITES},
)
def deploy(guard: Guarded, caller: Operating, new: NewDeployment, response: Response) -> Deployed:
    """Make code the live version of a tool, and monitor it. The holder of the token is recorded as who did it."""
    done = guard.deploy(**new.model_dump(), created_by=caller.name)
    if not done.changed:
        response.status_code = 200
    return Deployed.model_validate(done)


@router.get("/releases")
def list_releases(guard: Guarded, _caller: Reading, limit: Limit = 50, cursor: Cursor = None) -> Page[Release]:
    """List releases, newest first."""
    found = guard.store.releases.recent(limit + 1, before=number_of(cursor))
    return page(found, limit, lambda one: str(one.release_id), lambda one: one)


@router.get("/releases/tools", responses=problems(404))
def list_released_tools(
    guard: Guarded, _caller: Reading, label: Annotated[str, Query(min_length=1, max_length=128)]
) -> list[ReleasedTool]:
    """List the tools of a release."""
    return guard.store.releases.tools(guard.store.releases.get(label).release_id)


@router.post(
    "/releases",
    status_code=201,
    response_description="Its tools are live.",
    responses={200: {"model": Released, "description": "The label was released before with the same code."}, **WRITES},
)
def release(guard: Guarded, caller: Operating, new: NewRelease, response: Response) -> Released:
    """Make several tools live together, and monitor each. If one regresses, all of them are rolled back."""
    done = guard.release(**new.model_dump(), created_by=caller.name)
    if not done.new:
        response.status_code = 200
    return Released.model_validate(done)
