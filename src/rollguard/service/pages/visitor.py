"""Who visits a page, what they may do, and what an error looks like to them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from rollguard.errors import RollguardError
from rollguard.model.token import Scope
from rollguard.service.auth import Caller, require
from rollguard.service.pages.login import COOKIE, check_form, form_token
from rollguard.service.pages.render import link, page
from rollguard.service.problems import Refused, status_of


def root_of(request: Request) -> str:
    """Return the prefix that a reverse proxy has put before every path."""
    return str(request.scope.get("root_path", ""))


def visiting(scope: Scope) -> Any:
    """Return the dependency of a page: the `Caller`, who has this scope."""

    async def visitor(request: Request, caller: Caller = require(scope)) -> Caller:  # noqa: B008 - as FastAPI reads it
        request.state.caller, request.state.form_token = caller, form_token(request)
        request.state.logged_in = COOKIE in request.cookies
        return caller

    return Depends(visitor)


def acting(scope: Scope) -> Any:
    """Return the dependency of an action: the `Caller`, who has this scope and sent a form of one of our pages."""

    async def actor(request: Request, caller: Caller = visiting(scope)) -> Caller:  # noqa: B008
        form = await request.form()
        check_form(request, str(form.get("form_token", "")), caller)
        return caller

    return Depends(actor)


class PageRoute(APIRoute):
    """A route that answers people: each error is a page that says what to do, and who has no token may log in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except HTTPException as error:
                if error.status_code == 401 and "text/event-stream" in request.headers.get("accept", ""):
                    return Response(status_code=204)  # the log-in has ended: no stream, and no further try
                if error.status_code == 401 and request.method == "GET":
                    wanted = request.url.path.removeprefix(root_of(request)) or "/"
                    query = f"?{request.url.query}" if request.url.query else ""
                    return RedirectResponse(link(root_of(request), "/login", next=wanted + query), 303)
                return _error_page(request, error.status_code, str(error.detail))
            except RollguardError as error:
                return _error_page(request, int(status_of(error)), str(error))
            except RequestValidationError as error:
                said = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:3])
                return _error_page(request, 422, said)

        return handled


def answer_browsers(app: FastAPI) -> None:
    """Have an application answer a browser by a page if there is nothing at an address; programs get the problem."""
    of_programs: Any = app.exception_handlers[HTTPException]

    async def not_there(request: Request, error: Exception) -> Response:
        unknown = isinstance(error, HTTPException) and error.status_code == 404 and not isinstance(error, Refused)
        if unknown and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return _error_page(request, 404, f"there is nothing at {request.url.path}")
        answer: Response = await of_programs(request, error)
        return answer

    app.add_exception_handler(HTTPException, not_there)


def _error_page(request: Request, status: int, says: str) -> Response:
    return page(request, "error", status=status, title=f"Error {status}", code=status, says=says)
