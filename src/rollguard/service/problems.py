"""Answer every error as problem+json (RFC 9457), with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from rollguard import errors as e
from rollguard.model.log import logger_of

logger = logger_of(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, and what to do."""

    type: str = Field("about:blank", description="`about:blank`: the status says what kind of problem it is.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(description="What happened and what to do.", examples=["my_tool has no version 9; it has 1, 2"])
    error: str | None = Field(None, description="The name of Rollguard's error.", examples=["UnknownVersion"])


class Refused(HTTPException):
    """A request that is refused before the system is asked; the detail says why."""


class ProblemResponse(JSONResponse):
    """A response of problem+json."""

    media_type = MEDIA_TYPE


_STATUS: tuple[tuple[type[e.RollguardError], HTTPStatus], ...] = (
    (e.InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (e.ToolLoadError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (e.UnknownTool, HTTPStatus.NOT_FOUND),
    (e.UnknownVersion, HTTPStatus.NOT_FOUND),
    (e.UnknownSession, HTTPStatus.NOT_FOUND),
    (e.UnknownExecution, HTTPStatus.NOT_FOUND),
    (e.UnknownAttempt, HTTPStatus.NOT_FOUND),
    (e.SandboxUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (e.StoreConflict, HTTPStatus.CONFLICT),
    (e.StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
    (e.ToolFileError, HTTPStatus.SERVICE_UNAVAILABLE),
    (e.ActuatorFailed, HTTPStatus.BAD_GATEWAY),
    (e.RollguardError, HTTPStatus.CONFLICT),  # refused, quarantined, closed, overtaken, breaking, undecided
)
_SECONDS_BEFORE_RETRY = 5


def problem(
    status: int, detail: str, *, error: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return the response of a problem."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if error is not None:
        body["error"] = error
    return ProblemResponse({**body, **more}, status, dict(headers or {}))


def status_of(error: e.RollguardError) -> HTTPStatus:
    """Return the status that answers an error of Rollguard."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def of_error(error: e.RollguardError) -> Response:
    """Return the response to an error of Rollguard."""
    status = status_of(error)
    again = {"Retry-After": str(_SECONDS_BEFORE_RETRY)} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(status, str(error), error=type(error).__name__, headers=again)


def answer_problems(app: FastAPI) -> None:
    """Have an application answer each error with a problem."""

    async def rollguard_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, e.RollguardError)  # noqa: S101 - it is registered for this kind
        return of_error(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        return problem(error.status_code, _detail(request, error), headers=error.headers)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        found = [{"where": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()]
        said = "; ".join(f"{one['where']}: {one['problem']}" for one in found[:3])
        return problem(422, said, error="InvalidInput", errors=jsonable_encoder(found))

    async def gone(request: Request, _error: Exception) -> Response:
        logger.debug("the caller of %s went away before its body had arrived", request.url.path)
        return Response(status_code=400)  # nobody reads it

    async def own_error(_request: Request, error: Exception) -> Response:
        logger.error("a request failed by an error of Rollguard itself", exc_info=error)
        return problem(500, "Rollguard failed; its log says why. Nothing was acknowledged.")

    app.add_exception_handler(e.RollguardError, rollguard_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, own_error)


def _detail(request: Request, error: HTTPException) -> str:
    if isinstance(error, Refused):
        return str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"there is nothing at {request.url.path}; the paths are listed in /openapi.json"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another one")
        return f"{request.url.path} does not take {request.method}; it takes {allowed}"
    return str(error.detail)
