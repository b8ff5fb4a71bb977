"""The API: one file for each kind of thing, each with its router."""

from __future__ import annotations

from fastapi import FastAPI

from rollguard.service.api import executions, health
from rollguard.service.otlp import routes as otlp

_ROUTERS = (health.router, executions.router, otlp.router)


def add_to(app: FastAPI) -> None:
    """Add the API to an application."""
    for router in _ROUTERS:
        app.include_router(router)
