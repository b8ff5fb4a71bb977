"""What the endpoints of the API have in common."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from rollguard.service.problems import MEDIA_TYPE, Problem

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
            "content": {MEDIA_TYPE: {"example": _example(status)}},
        }
        for status in statuses
    }


def _example(status: int) -> dict[str, Any]:
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": _MEANS[status]}


REFUSED = problems(401, 403, 421, 429, 500, 503)
"""What every endpoint with a token may answer."""
