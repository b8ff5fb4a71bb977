"""The API: one file for each kind of thing, each with its router."""

from __future__ import annotations

from fastapi import FastAPI

from rollguard.service.api import executions, health

_ROUTERS = (health.router, executions.router)


def add_to(app: FastAPI) -> None:
    """Add the API to an application."""
    for router in _ROUTERS:
        app.include_router(router)
