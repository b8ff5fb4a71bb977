"""What the endpoints of the API have in common."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from rollguard.app import Rollguard
from rollguard.errors import InvalidInput
from rollguard.model.names import MAX_NAME
from rollguard.service.problems import MEDIA_TYPE, Problem

T = TypeVar("T")
Item = TypeVar("Item")

_MEANS = {
    400: "The request cannot be read.",
    401: "There is no valid token.",
    403: "The token lacks the scope, or a browser sent it for another site.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "The state does not allow it; nothing was changed.",
    413: "The body, or its number of rows, is too large.",
    415: "The body is of another type.",
    421: "The header Host does not name this service.",
    422: "A value is invalid.",
    429: "You sent too much in a minute; the header Retry-After says when to send again.",
    500: "Rollguard failed.",
    502: "The target did not acknowledge.",
    503: "The database is away, or too much is sent at once; try again later.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of problem+json for the OpenAPI document."""
    return {
        status: {
            "description": _MEANS[status],
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": _PROBLEM, "example": _example(status)}},
        }
        for status in statuses
    }


_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def _example(status: int) -> dict[str, Any]:
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": _MEANS[status]}


REFUSED = problems(401, 403, 421, 422, 429, 500, 503)
WRITES = problems(400, 404, 408, 409, 413, 415, 502)
"""What an endpoint with a body that changes something may answer too."""


def api_router(prefix: str, tag: str) -> APIRouter:
    """Return a router for endpoints that need a token."""
    return APIRouter(prefix=prefix, tags=[tag], responses=REFUSED, dependencies=[Depends(_no_unknown_filter)])


def _no_unknown_filter(request: Request) -> None:
    """Refuse a filter that there is not: left out in silence, it would answer another question."""
    known = request.app.state.filters.of(request.scope["endpoint"].__name__)
    for name in request.query_params:
        if name not in known:
            there_are = f"there are {', '.join(sorted(known))}" if known else "there are none"
            raise InvalidInput(f"{name!r} is no parameter of {request.url.path}; {there_are}")


class Filters:
    """The parameters of each endpoint's query, by the name of its function, as the OpenAPI document has them.

    Args:
        app: the application.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._known: dict[str, frozenset[str]] = {}

    def of(self, endpoint: str) -> frozenset[str]:
        """Return the names of the parameters of one endpoint."""
        if not self._known:
            operations = (one for path in self._app.openapi()["paths"].values() for one in path.values())
            self._known = {
                one["operationId"]: frozenset(p["name"] for p in one.get("parameters", ()) if p["in"] == "query")
                for one in operations
            }
        return self._known.get(endpoint, frozenset())


def _guard(request: Request) -> Rollguard:
    guard: Rollguard = request.app.state.service.guard
    return guard


Guarded = Annotated[Rollguard, Depends(_guard)]


class Given(BaseModel):
    """A body: no unknown fields, and no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _no_control(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it may not hold the character NUL")
    return text


Text = Annotated[str, Field(max_length=4_096), AfterValidator(_no_control)]
Reason = Annotated[str, Field(min_length=1, max_length=4_096, pattern=r"\S"), AfterValidator(_no_control)]
ToolName = Annotated[str, Field(min_length=1, max_length=MAX_NAME, examples=["weather"]), AfterValidator(_no_control)]
Label = Annotated[
    Annotated[int, Field(ge=1, lt=2**31)]
    | Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_no_control)],
    Field(
        description="A version's number, or the label of a release.", examples=[3, "v2.1"], union_mode="left_to_right"
    ),
]
OptionalTool = Annotated[
    str | None,
    Query(description="Only this tool's.", min_length=1, max_length=MAX_NAME),
    AfterValidator(lambda text: text if text is None else _no_control(text)),
]
OneTool = Annotated[str, Query(description="The tool.", min_length=1, max_length=MAX_NAME), AfterValidator(_no_control)]
OneVersion = Annotated[
    str,
    Query(description="A version's number, or the label of a release.", min_length=1, max_length=128),
    AfterValidator(_no_control),
]
Since = Annotated[AwareDatetime | None, Query(description="Only from this time on; name its zone.")]
Limit = Annotated[int, Query(ge=1, le=500, description="At most so many.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.", max_length=200)]
Number = Annotated[int, Path(ge=1, lt=2**31)]


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last one.")


def page(found: Sequence[Item], limit: int, place: Callable[[Item], str], show: Callable[[Item], Any]) -> Page[Any]:
    """Return a page of what was found, which is one more than `limit` if there is another page."""
    shown = list(found[:limit])
    return Page(items=[show(one) for one in shown], next=_cursor(place(shown[-1])) if len(found) > limit else None)


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> str | None:
    """Return the place that a cursor names; None for the beginning.

    Raises:
        InvalidInput: it is no cursor.
    """
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _bad_cursor(cursor) from None


def number_of(cursor: str | None) -> int | None:
    """Return the number that a cursor names.

    Raises:
        InvalidInput: it is no cursor of such a list.
    """
    place = place_of(cursor)
    if place is None:
        return None
    if not (place.isascii() and place.isdecimal() and len(place) <= 18):
        raise _bad_cursor(cursor)
    return int(place)


def moment_of(cursor: str | None) -> tuple[datetime | None, int]:
    """Return the moment and the number that a cursor names.

    Raises:
        InvalidInput: it is no cursor of such a list.
    """
    place = place_of(cursor)
    if place is None:
        return None, 0
    moment, _, number = place.partition("|")
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        raise _bad_cursor(cursor) from None
    if found.tzinfo is None or not (number.isascii() and number.isdecimal() and len(number) <= 9):
        raise _bad_cursor(cursor)
    return found, int(number)


def _bad_cursor(cursor: str | None) -> InvalidInput:
    return InvalidInput(f"cursor: {cursor!r} is none; give `next` of the page before, with the same filters")
