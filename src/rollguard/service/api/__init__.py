"""The API: one file for each kind of thing, each with its router."""

from __future__ import annotations

from fastapi import FastAPI

from rollguard.service.api import deployments, executions, health, rollbacks, sessions, tools, weaknesses

_PARTS = (health, executions, tools, deployments, sessions, rollbacks, weaknesses)


def add_to(app: FastAPI) -> None:
    """Add the API to an application."""
    for part in _PARTS:
        app.include_router(part.router)
