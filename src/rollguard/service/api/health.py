"""Whether this process lives, and whether it is ready; without a token, for what starts and stops it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from rollguard.service.api.common import problems
from rollguard.service.problems import problem

router = APIRouter(tags=["health"], responses=problems(421, 500))


class Health(BaseModel):
    """It is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health()


@router.get("/readyz", response_model=Health, responses=problems(503))
async def readyz(request: Request) -> Health | Response:
    """Say whether the database answers and the loop runs. Executions are taken even if the database is away."""
    service = request.app.state.service
    await run_in_threadpool(service.guard.store.tokens.exist)  # raises if the database is away
    if not service.watching.alive:
        return problem(503, "the loop ended, so nothing is checked by this process; restart it")
    return Health()


for _path, _endpoint in (("/healthz", healthz), ("/readyz", readyz)):  # what balances load may ask without a body
    router.add_api_route(_path, _endpoint, methods=["HEAD"], response_model=Health, include_in_schema=False)
