"""The API: one file for each kind of thing, each with its router."""

from __future__ import annotations

from fastapi import FastAPI

from rollguard.service.api import (
    agents,
    deployments,
    executions,
    health,
    proposals,
    rollbacks,
    rollouts,
    sessions,
    tools,
    weaknesses,
)
from rollguard.service.api.common import Filters

_PARTS = (health, executions, agents, tools, deployments, rollouts, sessions, rollbacks, weaknesses, proposals)


def add_to(app: FastAPI) -> None:
    """Add the API to an application."""
    app.state.filters = Filters(app)
    for part in _PARTS:
        app.include_router(part.router)
