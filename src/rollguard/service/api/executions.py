"""Executions: record many at once, and list them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic_core import from_json

from rollguard.model.execution import Execution
from rollguard.service.api.common import (
    Cursor,
    Guarded,
    Limit,
    OptionalTool,
    Page,
    Since,
    api_router,
    moment_of,
    page,
    problems,
)
from rollguard.service.auth import Ingesting, Reading
from rollguard.service.ingest import Taken
from rollguard.service.problems import problem
from rollguard.service.rows import JSON, LINES

router = api_router("/api/v1/executions", "executions")


class RefusedRow(BaseModel):
    """A row that was not recorded."""

    row: int = Field(ge=0, description="Its position in the body, from 0 on.")
    execution_id: str | None = None
    problem: str


class ConflictingRow(BaseModel):
    """A row whose id is stored with other content. The first content is kept."""

    row: int = Field(ge=0)
    execution_id: str


class Recorded(BaseModel):
    """What became of the rows of one request. Those that are not refused are acknowledged: they will not be lost."""

    received: int = Field(ge=0)
    stored: int = Field(ge=0, description="New in the database.")
    already_stored: int = Field(ge=0, description="There before, by their id; nothing was changed.")
    waiting: int = Field(ge=0, description="On the disk until the database is back.")
    refused: list[RefusedRow]
    conflicts: list[ConflictingRow]


_ROW = {"$ref": "#/components/schemas/Row"}
_EXAMPLE = {
    "tool_name": "weather",
    "success": False,
    "duration_ms": 12.5,
    "error": "KeyError: 'temp'",
    "parameters": {"city": "Oslo"},
    "executed_at": "2026-03-01T12:00:00Z",
    "version_number": 3,
    "execution_id": "call-7f3a",
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"anyOf": [_ROW, {"type": "array", "items": _ROW, "minItems": 1}]}, "example": [_EXAMPLE]},
            **{kind: {"schema": {"type": "string"}} for kind in LINES},
        },
    }
}


@router.post(
    "",
    openapi_extra=_BODY,
    response_model=Recorded,
    response_description="Every row is acknowledged.",
    responses={
        202: {"model": Recorded, "description": "Acknowledged; some wait on the disk until the database is back."},
        207: {"model": Recorded, "description": "Some rows were refused, and the others are acknowledged."},
        **problems(400, 408, 413, 415, 422),
    },
)
async def record_executions(request: Request, caller: Ingesting) -> Response:
    """Record one or many executions, as JSON or JSON lines, also with `Content-Encoding: gzip`.

    Each row stands for itself: those that are no executions are refused and named, the others are recorded. An
    `execution_id` is stored once; one that comes again with other content keeps the first and is reported. If the
    request fails, send it again with the same ids.
    """
    service = request.app.state.service
    body, kind = await request.body(), request.headers.get("content-type", "")
    return _answer(await service.ingest.take_body(body, kind, caller, service.rates))


class ExecutionShown(BaseModel):
    """A recorded call. Secrets in it were replaced before it was stored."""

    tool_name: str
    success: bool
    duration_ms: float | None
    error: str | None
    error_type: str | None
    parameters: Any
    result: Any
    executed_at: datetime
    version_number: int | None
    execution_id: str | None
    request_id: str | None
    tags: Any
    score: float | None
    failed_at: Any
    traceback: str | None
    rollout_id: int | None
    stage: int | None
    arm: str | None


@router.get("")
def list_executions(
    guard: Guarded,
    _caller: Reading,
    tool: OptionalTool = None,
    failed: Annotated[bool, Query(description="Only failed ones.")] = False,
    since: Since = None,
    version: Annotated[int | None, Query(ge=1, lt=2**31, description="Only those of this version.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ExecutionShown]:
    """List executions that are still kept, newest first."""
    until, known = moment_of(cursor)
    found = guard.store.listing.recent(
        tool, failed=failed, since=since, version=version, limit=limit + 1, until=until, skip=known
    )
    shown = found[:limit]
    last = shown[-1].executed_at if shown else None
    same = sum(one.executed_at == last for one in shown) + (known if last == until else 0)
    return page(found, limit, lambda one: f"{_at(one).isoformat()}|{same}", _shown)


def _at(one: Execution) -> datetime:
    return one.executed_at or datetime.now(UTC)


def _shown(one: Execution) -> ExecutionShown:
    parsed = {name: _parsed(getattr(one, name)) for name in ("parameters", "result", "tags", "failed_at")}
    return ExecutionShown.model_validate({**one._asdict(), **parsed})


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else from_json(text)
    except ValueError:  # what another program wrote
        return text


def _answer(taken: Taken) -> Response:
    refused = [{"row": place, "execution_id": bad.execution_id, "problem": bad.problem} for place, bad in taken.refused]
    if refused and len(refused) == taken.received:
        return problem(422, f"no row is an execution that you may record; row 0: {refused[0]['problem']}", rows=refused)
    found: dict[str, Any] = {
        "received": taken.received,
        "stored": taken.stored,
        "already_stored": taken.already_stored,
        "waiting": taken.waiting,
        "refused": refused,
        "conflicts": [{"row": place, "execution_id": known} for place, known in taken.conflicts],
    }
    return JSONResponse(found, 207 if refused else 202 if taken.waiting else 200)
