"""What a person does on a page: each asks for confirmation first, and is recorded under their name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from rollguard.app import Rollguard
from rollguard.errors import InvalidInput, SessionClosed, UnknownTool
from rollguard.model.token import Scope
from rollguard.service.auth import Caller
from rollguard.service.pages.render import link, page
from rollguard.service.pages.visitor import PageRoute, acting, root_of, visiting
from rollguard.store import Intention

actions = APIRouter(include_in_schema=False, route_class=PageRoute)

_operating, _may_operate = visiting(Scope.OPERATE), acting(Scope.OPERATE)


def _guard(request: Request) -> Rollguard:
    guard: Rollguard = request.app.state.service.guard
    return guard


def _reason(given: str) -> str:
    if not given.strip():
        raise InvalidInput("reason: say why; it is kept in the history. Go back and fill it in.")
    return given.strip()[:2_000]


@actions.get("/rollback")
def ask_rollback(request: Request, name: str, to: int | None = None, caller: Caller = _operating) -> Response:
    """Ask whether to roll a tool back, and say what that would do."""
    store = _guard(request).store
    live, sessions = store.versions.live(name), store.sessions.active(name)
    if live is None:
        raise UnknownTool(f"{name} was never deployed, so there is nothing to roll back")
    session_id = sessions[0].session_id if sessions else None
    wanted = Intention(name, session_id, live.version_number, to, "", "manual", caller.name)
    guard = _guard(request)
    guard.registry.remote.refuse_partial([name])
    planned, extent = store.rollbacks.planned(guard.monitor.runner.of_rollout(wanted), datetime.now(UTC))
    versions = [row for row in store.reports.version_history(name) if row["version_number"] != live.version_number]
    return page(
        request,
        "confirm_rollback",
        title=f"Roll {name} back",
        name=name,
        planned=planned,
        together=[intention.tool_name for intention, _ in extent.others],
        session_id=session_id,
        versions=versions,
    )


@actions.post("/rollback")
def roll_back(
    request: Request,
    name: Annotated[str, Form()],
    to: Annotated[int, Form()],
    expected: Annotated[int, Form()],
    reason: Annotated[str, Form()] = "",
    quarantine: Annotated[bool, Form()] = False,
    caller: Caller = _may_operate,
) -> Response:
    """Roll a tool back.

    Args:
        expected: the version that was live on the page that asked.
    """
    guard, why = _guard(request), _reason(reason)
    live = guard.store.versions.live(name)
    if live is None or live.version_number != expected:
        now = "no version" if live is None else f"version {live.version_number}"
        raise SessionClosed(f"{name}: {now} is live by now, not version {expected}; look at it again")
    done = guard.monitor.roll_back(name, to_version=to, reason=why, requested_by=caller.name, quarantine=quarantine)
    return RedirectResponse(link(root_of(request), "/rollbacks") + f"#rollback-{done.rollback_id}", 303)


@actions.get("/sessions/{session_id}/cancel")
def ask_cancel(request: Request, session_id: int, _caller: Caller = _operating) -> Response:
    """Ask whether to stop monitoring a deployment."""
    session = _guard(request).store.sessions.get(session_id)
    return page(request, "confirm_cancel", title=f"Cancel session {session_id}", session=session)


@actions.post("/sessions/{session_id}/cancel")
def cancel(
    request: Request,
    session_id: int,
    reason: Annotated[str, Form()] = "",
    caller: Caller = _may_operate,
) -> Response:
    """Stop monitoring a deployment."""
    _guard(request).monitor.cancel_monitoring(session_id, f"{_reason(reason)} (by {caller.name})")
    return RedirectResponse(link(root_of(request), f"/sessions/{session_id}"), 303)
