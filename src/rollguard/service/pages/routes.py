"""The pages that are read, logging in and out, and the stream that keeps the pages up to date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from rollguard.app import Rollguard
from rollguard.model.token import Scope
from rollguard.service.auth import Caller
from rollguard.service.pages.actions import actions
from rollguard.service.pages.live import Live
from rollguard.service.pages.login import COOKIE, Logins, check_origin, set_cookie
from rollguard.service.pages.overview import Summaries, overview
from rollguard.service.pages.proposals import proposal, proposals
from rollguard.service.pages.render import HEADERS, link, page
from rollguard.service.pages.session import session_view
from rollguard.service.pages.tool import RANGES, tool_view
from rollguard.service.pages.versions import compared
from rollguard.service.pages.visitor import PageRoute, answer_browsers, root_of, visiting
from rollguard.service.problems import Refused

pages = APIRouter(include_in_schema=False, route_class=PageRoute)

_AT_ONCE = 50  # rows of a list
_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOR_EVER = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
_reading = visiting(Scope.READ)


def add_to(app: FastAPI) -> None:
    """Add the pages to an application."""
    guard, auth = app.state.service.guard, app.state.service.auth
    logins = Logins(guard.store, auth.tokens)
    auth.authenticators.append(logins.of_request)
    app.state.logins, app.state.live, app.state.summaries = logins, Live(guard.store), Summaries(guard.store)
    app.include_router(pages)
    app.include_router(actions)
    answer_browsers(app)


def _guard(request: Request) -> Rollguard:
    guard: Rollguard = request.app.state.service.guard
    return guard


@pages.get("/")
def show_overview(
    request: Request,
    _caller: Caller = _reading,
    search: str = "",
    state: str = "",
    number: Annotated[int, Query(alias="page", ge=1)] = 1,
) -> Response:
    """Show what is monitored and how it does."""
    guard, now = _guard(request), datetime.now(UTC)
    interval = timedelta(seconds=guard.settings.watch.check_interval_seconds)
    summaries: Summaries = request.app.state.summaries
    found = overview(guard.store, summaries, now, interval, search=search, state=state, page=number)
    return page(request, "overview", title="Overview", seen=found, search=search, state=state)


@pages.get("/tool")
def show_tool(
    request: Request, name: str, _caller: Caller = _reading, span: Annotated[str | None, Query(alias="range")] = None
) -> Response:
    """Show how a tool does, and what happened to it."""
    view, chosen = tool_view(_guard(request).store, name, datetime.now(UTC), span)
    return page(request, "tool", title=name, view=view, chosen=chosen, ranges=RANGES)


@pages.get("/sessions")
def list_sessions(
    request: Request,
    _caller: Caller = _reading,
    name: str | None = None,
    status: str | None = None,
    before: int | None = None,
) -> Response:
    """List sessions, newest first."""
    found = _guard(request).store.sessions.recent(
        tool_name=name or None, status=status or None, before=before, limit=_AT_ONCE + 1
    )
    return page(
        request,
        "sessions",
        title="Sessions",
        found=found[:_AT_ONCE],
        more=len(found) > _AT_ONCE,
        before=before,
        name=name or "",
        status_=status or "",
    )


@pages.get("/sessions/{session_id}")
def show_session(request: Request, session_id: int, _caller: Caller = _reading) -> Response:
    """Show what a session decided, and why."""
    view = session_view(_guard(request).store, session_id)
    return page(request, "session", title=f"Session {session_id}", view=view)


@pages.get("/calls")
def list_calls(
    request: Request,
    _caller: Caller = _reading,
    name: str | None = None,
    failed: bool = False,
    version: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Response:
    """List the latest calls, those that failed or those of an interval."""
    last = until and until - timedelta(microseconds=1)  # an interval's end belongs to the next one
    found = _guard(request).store.listing.recent(
        name or None, failed=failed, version=version, since=since, until=last, limit=_AT_ONCE
    )
    return page(
        request,
        "calls",
        title="Calls",
        found=found,
        name=name or "",
        failed=failed,
        version=version,
        since=since,
        until=until,
        most=_AT_ONCE,
    )


@pages.get("/diff")
def show_diff(
    request: Request,
    name: str,
    after: Annotated[int, Query(alias="to")],
    before: Annotated[int | None, Query(alias="from")] = None,
    _caller: Caller = _reading,
) -> Response:
    """Show what differs between two versions of a tool."""
    found, numbers = compared(_guard(request).store, name, before, after, datetime.now(UTC))
    title = f"{name}, {found.before.version_number} → {after}"
    return page(request, "diff", title=title, compared=found, numbers=numbers)


@pages.get("/rollbacks")
def list_rollbacks(
    request: Request, _caller: Caller = _reading, name: str | None = None, before: int | None = None
) -> Response:
    """List rollbacks, newest first."""
    store = _guard(request).store
    newer = None if before is None else store.rollbacks.get(before)
    found = store.rollbacks.recent(tool_name=name or None, before=newer, limit=_AT_ONCE + 1)
    return page(
        request,
        "rollbacks",
        title="Rollbacks",
        found=found[:_AT_ONCE],
        more=len(found) > _AT_ONCE,
        before=before,
        name=name or "",
        stability=[one for one in store.reports.deployment_stability(10) if one["total_rollbacks"]],
    )


@pages.get("/proposals")
def list_proposals(request: Request, _caller: Caller = _reading) -> Response:
    """List what the loop proposes."""
    return page(request, "proposals", title="Proposals", seen=proposals(_guard(request).store, datetime.now(UTC)))


@pages.get("/proposals/{attempt_id}")
def show_proposal(request: Request, attempt_id: int, _caller: Caller = _reading) -> Response:
    """Show one proposal, with what a person needs to decide."""
    view = proposal(_guard(request).store, attempt_id, datetime.now(UTC))
    return page(request, "proposal", title=f"Proposal {attempt_id}", view=view)


# --- logging in and out ----------------------------------------------------------------------------------------------


@pages.get("/login")
def ask_for_token(request: Request, next_: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Ask for a token."""
    return page(request, "login", title="Log in", next_=_ours(next_), says=None)


@pages.post("/login")
def log_in(
    request: Request, token: Annotated[str, Form()], next_: Annotated[str, Form(alias="next")] = "/"
) -> Response:
    """Log in with a token."""
    check_origin(request)
    service = request.app.state.service
    service.rates.take_request(f"log-in {request.client.host if request.client else ''}")
    try:
        secret, ends = request.app.state.logins.enter(token, datetime.now(UTC))
    except Refused as error:
        return page(
            request, "login", status=error.status_code, title="Log in", next_=_ours(next_), says=str(error.detail)
        )
    response = RedirectResponse(root_of(request) + _ours(next_), 303)
    set_cookie(request, response, secret, ends)
    return response


@pages.post("/logout")
def log_out(request: Request) -> Response:
    """End a log-in."""
    check_origin(request)
    request.app.state.logins.leave(request.cookies.get(COOKIE, ""), datetime.now(UTC))
    response = RedirectResponse(link(root_of(request), "/login"), 303)
    response.delete_cookie(COOKIE, path=root_of(request) or "/")
    return response


def _ours(path: str) -> str:
    """Return a path of this service, to which a log-in may lead; else the overview."""
    plain = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if plain else "/"


# --- what pages load -------------------------------------------------------------------------------------------------


@pages.get("/events")
async def events(request: Request, _caller: Caller = _reading) -> Response:
    """Tell an open page each time that something changed."""
    headers = {**HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(request.app.state.live.events(), media_type="text/event-stream", headers=headers)


@pages.get("/static/{name}")
def static_file(name: str) -> Response:
    """Return a file of the pages. Its address changes with its content."""
    content = _static_files().get(name)
    if content is None:
        raise Refused(404, f"there is no file {name}")
    return Response(content, media_type=_KINDS[name.rpartition(".")[2]], headers=_FOR_EVER)


@cache
def _static_files() -> dict[str, bytes]:
    folder = files("rollguard.service.pages").joinpath("static")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}
