"""What a person does on a page: each asks for confirmation first, and is recorded under their name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from rollguard.app import Rollguard
from rollguard.errors import ApprovalRefused, InvalidInput, SessionClosed, UnknownTool
from rollguard.loop.improvement.approvals import Approvals
from rollguard.model.token import Scope
from rollguard.service.auth import Caller
from rollguard.service.pages.render import link, page
from rollguard.service.pages.versions import changes_of, version_lines
from rollguard.service.pages.visitor import PageRoute, acting, root_of, visiting
from rollguard.store import Intention

actions = APIRouter(include_in_schema=False, route_class=PageRoute)

_operating, _may_operate, _may_approve = visiting(Scope.OPERATE), acting(Scope.OPERATE), acting(Scope.APPROVE)
_ROLLOUT = {  # what a person may do with a rollout, and what then happens
    "promote": "The new version serves all calls from now on. Its monitoring goes on.",
    "pause": "The share stays as it is until somebody resumes it. Evidence against the new version still ends it.",
    "resume": "The rollout goes on; the time of its stage begins again.",
    "abort": "The old version serves all calls again. The new one may be deployed again.",
}


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
    guard = _guard(request)
    store = guard.store
    live, sessions = store.versions.live(name), store.sessions.active(name)
    if live is None:
        raise UnknownTool(f"{name} was never deployed, so there is nothing to roll back")
    session_id = sessions[0].session_id if sessions else None
    wanted = Intention(name, session_id, live.version_number, to, "", "manual", caller.name)
    guard.registry.remote.refuse_partial([name])
    planned, extent = store.rollbacks.planned(guard.monitor.runner.of_rollout(wanted), datetime.now(UTC))
    lines = version_lines(store, name, datetime.now(UTC), *changes_of(store, name))
    versions = [line for line in lines if line.version_number != planned.from_version]
    return page(
        request,
        "confirm_rollback",
        title=f"Roll {name} back",
        name=name,
        live=live.version_number,
        planned=planned,
        others=[(intention.tool_name, decision) for intention, decision in extent.others],
        left=extent.left,
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


@actions.get("/rollout")
def ask_rollout(request: Request, name: str, action: str, _caller: Caller = _operating) -> Response:
    """Ask whether to promote, pause, resume or abort a rollout."""
    rollout = _guard(request).store.rollouts.open_of(name)
    if rollout is None or action not in _ROLLOUT:
        raise UnknownTool(f"{name} is under no rollout, so there is nothing to {action}")
    return page(
        request, "confirm_rollout", title=f"{action} {name}", rollout=rollout, action=action, says=_ROLLOUT[action]
    )


@actions.post("/rollout")
def decide_rollout(
    request: Request,
    name: Annotated[str, Form()],
    action: Annotated[str, Form()],
    rollout: Annotated[int, Form()],
    reason: Annotated[str, Form()] = "",
    caller: Caller = _may_operate,
) -> Response:
    """Promote, pause, resume or abort the rollout that the page showed."""
    guard, why = _guard(request), _reason(reason)
    under_way = guard.store.rollouts.open_of(name)
    if action not in _ROLLOUT or under_way is None or under_way.rollout_id != rollout:
        raise SessionClosed(f"{name}: rollout {rollout} is over; look at it again")
    done = getattr(guard.monitor.rollouts, action)(name, by=caller.name, reason=why)
    return RedirectResponse(link(root_of(request), f"/sessions/{done.session_id}"), 303)


@actions.post("/proposals/{attempt_id}")
def decide_proposal(
    request: Request,
    attempt_id: int,
    action: Annotated[Literal["approve", "reject"], Form()],
    binding: Annotated[str, Form()],
    reason: Annotated[str, Form()] = "",
    caller: Caller = _may_approve,
) -> Response:
    """Approve or reject a proposal.

    Args:
        binding: the hash of what the page showed: the candidate, its base and the evidence.
    """
    guard, why = _guard(request), _reason(reason)
    if guard.store.attempts.get(attempt_id).binding != binding:
        raise ApprovalRefused(f"attempt {attempt_id} is not what you saw any more; look at it again")
    approvals = Approvals(guard.store, guard.settings.loop)
    getattr(approvals, action)(attempt_id, by=caller.name, reason=why, now=datetime.now(UTC))
    return RedirectResponse(link(root_of(request), f"/proposals/{attempt_id}"), 303)
