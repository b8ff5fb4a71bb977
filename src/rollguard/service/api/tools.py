"""Tools and their versions: what is live, the code, and how versions differ."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, Field

from rollguard.compat import Change
from rollguard.model.version import Deployment, VersionRecord
from rollguard.service.api.common import (
    Cursor,
    Guarded,
    Limit,
    OneTool,
    OneVersion,
    Page,
    api_router,
    number_of,
    page,
    place_of,
    problems,
)
from rollguard.service.auth import Reading

router = api_router("/api/v1", "tools")


class ToolShown(BaseModel):
    """One tool."""

    tool_name: str
    live: Deployment | None = Field(description="The deployment that is live; null if it was never deployed.")
    session_id: int | None = Field(description="The active session that monitors it.")


class VersionShown(BaseModel):
    """One version of a tool, without its code."""

    version_number: int
    sha256: str
    kind: str
    created_by: str
    created_at: datetime
    reason: str | None
    parent_version: int | None
    labels: list[str]
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


class VersionWithCode(VersionShown):
    """One version of a tool."""

    code: str
    encoding: Literal["utf-8", "base64"] = Field(description="How `code` holds the bytes.")


class Diff(BaseModel):
    """How two versions differ."""

    before: VersionShown
    after: VersionShown
    diff: str = Field(description="The unified diff; empty if the code is the same.")
    lines_added: int
    lines_removed: int
    changes: list[Change] = Field(description="What callers notice, breaking changes first.")
    success_rate_change: float | None
    duration_change: float | None


def _shown(version: VersionRecord, labels: tuple[str, ...]) -> dict[str, Any]:
    names = VersionShown.model_fields.keys() - {"labels"}
    return {**{name: getattr(version, name) for name in names}, "labels": list(labels)}


@router.get("/tools")
def list_tools(guard: Guarded, _caller: Reading, limit: Limit = 50, cursor: Cursor = None) -> Page[ToolShown]:
    """List the tools that were deployed or called, by name."""
    after, store = place_of(cursor), guard.store
    live = store.versions.live_of_all()
    names = sorted({*live, *store.executions.tool_names()})
    wanted = [name for name in names if after is None or name > after][: limit + 1]
    sessions = {session.tool_name: session.session_id for session in store.sessions.active()}
    return page(
        wanted,
        limit,
        lambda name: name,
        lambda name: ToolShown(tool_name=name, live=live.get(name), session_id=sessions.get(name)),
    )


@router.get("/versions")
def list_versions(
    guard: Guarded, _caller: Reading, tool: OneTool, limit: Limit = 50, cursor: Cursor = None
) -> Page[VersionShown]:
    """List a tool's versions, newest first, with how their calls went."""
    before, labels = number_of(cursor), guard.store.releases.labels(tool)
    history = guard.versions.get_version_history(tool)
    found = [one for one in history if before is None or one.version_number < before]
    return page(
        found[: limit + 1],
        limit,
        lambda one: str(one.version_number),
        lambda one: VersionShown.model_validate(_shown(one, labels.get(one.version_number, ()))),
    )


@router.get("/version", responses=problems(404))
def get_version(guard: Guarded, _caller: Reading, tool: OneTool, version: OneVersion) -> VersionWithCode:
    """Return one version with its code."""
    found = guard.versions.get_version(tool, version)
    labels = guard.store.releases.labels(tool).get(found.version_number, ())
    return VersionWithCode.model_validate({**_shown(found, labels), **_code(found.code)})


@router.get(
    "/code",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The code."}, **problems(404)},
)
def get_code(guard: Guarded, _caller: Reading, tool: OneTool, version: OneVersion) -> Response:
    """Return the code of a version, byte for byte. It never changes, so it may be kept for ever."""
    found = guard.store.versions.get(tool, version)
    headers = {"ETag": f'"{found.sha256}"', "X-Content-Type-Options": "nosniff"}
    return Response(found.code, media_type="application/octet-stream", headers=headers)


@router.get("/diff", responses=problems(404))
def diff(
    guard: Guarded,
    _caller: Reading,
    tool: OneTool,
    before: Annotated[str, Query(min_length=1, max_length=128, description="A version's number, or a label.")],
    after: Annotated[str, Query(min_length=1, max_length=128, description="A version's number, or a label.")],
) -> Diff:
    """Compare two versions of a tool: the code, what breaks callers, and their success rates."""
    found, labels = guard.versions.compare_versions(tool, before, after), guard.store.releases.labels(tool)
    names = Diff.model_fields.keys() - {"before", "after"}
    sides = {
        side: _shown(one, labels.get(one.version_number, ()))
        for side, one in (("before", found.before), ("after", found.after))
    }
    return Diff.model_validate({**{name: getattr(found, name) for name in names}, **sides})


def _code(content: bytes) -> dict[str, str]:
    import base64

    try:
        return {"code": content.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"code": base64.b64encode(content).decode(), "encoding": "base64"}
