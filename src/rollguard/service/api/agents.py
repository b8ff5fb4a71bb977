"""What agents that serve and record tools themselves need beside recording."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request, Response
from pydantic import BaseModel, Field

from rollguard.model.in_flight import CallInFlight
from rollguard.record.decorator import LONGEST_TIMEOUT
from rollguard.service.api.common import WRITES, Given, Guarded, ToolName, api_router
from rollguard.service.auth import Caller, Ingesting, Reading
from rollguard.service.live import Shared
from rollguard.service.problems import Refused
from rollguard.service.rows import Moment

router = api_router("/api/v1", "agents")

_LONGEST_WAIT = 60.0
_MOST = 1_000


class LiveRollout(BaseModel):
    """By what the calls of a tool are drawn while two versions of it serve."""

    rollout_id: int
    old_version: int
    old_sha256: str
    new_version: int
    new_sha256: str
    stage: int
    share: float = Field(description="The probability with which a unit gets the new version.")
    key: str = Field(description="The key of the draw, in hexadecimal. A request gets the same version everywhere.")


class LiveVersion(BaseModel):
    """The version of a tool that is live."""

    tool_name: str
    version_number: int
    sha256: str = Field(description="Of its code, which `/api/v1/code` returns.")
    deployment_id: int = Field(description="Rises with every move of the live version.")
    rollout: LiveRollout | None = Field(None, description="Another version of it serves too.")


class LiveVersions(BaseModel):
    """What is live of every tool."""

    tools: list[LiveVersion]


class TimeLimit(Given):
    """After how many seconds calls of a tool count as failed, from one call on."""

    tool_name: ToolName
    timeout_seconds: Annotated[float, Field(gt=0, le=LONGEST_TIMEOUT, allow_inf_nan=False)] | None
    since: Moment


class TimeLimits(Given):
    """By which limits an agent counts calls as failed."""

    limits: Annotated[list[TimeLimit], Field(min_length=1, max_length=_MOST)]


class Running(Given):
    """A call that has not ended."""

    tool_name: ToolName
    version_number: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    began_at: Moment


class InFlight(Given):
    """The calls of one process that have not ended."""

    process_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="A random id of the process.")]
    host: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
    pid: Annotated[int, Field(ge=1, lt=2**31)]
    calls: Annotated[list[Running], Field(max_length=_MOST)]


@router.get(
    "/live",
    response_model=LiveVersions,
    responses={304: {"description": "Nothing is live that was not at the tag."}},
)
async def live(
    request: Request,
    response: Response,
    _caller: Reading,
    wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT, description="Wait so many seconds for a change.")] = 0.0,
    if_none_match: Annotated[str | None, Header(max_length=100, description="The ETag of an earlier answer.")] = None,
) -> LiveVersions | Response:
    """Return what is live of every tool. With `If-None-Match` and `wait`, answer as soon as that changes."""
    known = if_none_match.strip().removeprefix("W/").strip('"') if if_none_match else None
    found = await request.app.state.service.live.after(known, wait if known else 0.0)
    if found.tag == known:
        return Response(status_code=304, headers={"ETag": f'"{found.tag}"'})
    response.headers["ETag"] = f'"{found.tag}"'
    tools = [
        LiveVersion.model_validate({**one._asdict(), "rollout": _rollout(found.shared.get(one.tool_name))})
        for one in found.pointers
    ]
    return LiveVersions(tools=tools)


def _rollout(shared: Shared | None) -> LiveRollout | None:
    if shared is None:
        return None
    split = shared.split
    return LiveRollout(
        rollout_id=split.rollout_id,
        old_version=split.old,
        old_sha256=shared.old_sha256,
        new_version=split.new,
        new_sha256=shared.new_sha256,
        stage=split.stage,
        share=split.share,
        key=split.key.hex(),
    )


@router.post("/time-limits", status_code=204, responses=WRITES)
def note_time_limits(guard: Guarded, caller: Ingesting, given: TimeLimits) -> None:
    """Note by which limits an agent counts calls as failed, so that hangs before and after are compared rightly."""
    _check(caller, [one.tool_name for one in given.limits])
    guard.store.definitions.note({one.tool_name: (one.timeout_seconds, one.since) for one in given.limits})


@router.put("/in-flight", status_code=204, responses=WRITES)
def publish_calls_in_flight(guard: Guarded, caller: Ingesting, given: InFlight) -> None:
    """Replace what is known of the calls of a process that have not ended. Send it again each minute."""
    _check(caller, [one.tool_name for one in given.calls])
    calls = [
        CallInFlight(one.tool_name, one.version_number, one.began_at, given.host, given.pid) for one in given.calls
    ]
    guard.store.in_flight.publish(given.process_id, calls)


def _check(caller: Caller, tool_names: list[str]) -> None:
    for name in tool_names:
        if not caller.may_record(name):
            raise Refused(403, f"the token of {caller.name} may not record calls of {name!r}")
