"""Build the application: everything that the service answers, around one `Rollguard`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI

from rollguard import __version__
from rollguard.app import Rollguard
from rollguard.service import api, metrics, otlp, pages
from rollguard.service.auth import Auth, Tokens
from rollguard.service.bodies import LimitedBodies, Limits
from rollguard.service.hosts import CheckedHosts
from rollguard.service.ingest import Ingest
from rollguard.service.live import LiveVersions
from rollguard.service.openapi import document_of
from rollguard.service.problems import answer_problems
from rollguard.service.rates import Rates
from rollguard.service.turns import Turns
from rollguard.service.watching import Watching

_PARTS = (api, otlp, metrics, pages)  # packages of endpoints; each adds its own to the application


@dataclass(frozen=True, slots=True)
class Service:
    """What endpoints need, as `request.app.state.service`.

    Attributes:
        guard: the whole system. Its methods wait for the database, so call them in threads.
        auth: who may do what.
        rates: how much each caller sends.
        ingest: what records executions.
        turns: has bodies read one after another.
        watching: the loop, if it runs in this process.
        live: what is live of every tool.
        stopping: set when the service is to stop; what waits for long ends then.
    """

    guard: Rollguard
    auth: Auth
    rates: Rates
    ingest: Ingest
    turns: Turns
    watching: Watching
    live: LiveVersions
    stopping: asyncio.Event


def create_app(guard: Rollguard, *, open_to_this_machine: bool = False, watch: bool | None = None) -> FastAPI:
    """Return the application.

    Args:
        guard: the system that it serves.
        open_to_this_machine: while there is no token, let everyone do everything. Say so only where the service listens
            to its own machine alone.
        watch: whether the loop runs in this process, from start to stop; by default as the settings say.
    """
    settings, stopping, turns = guard.settings.service, asyncio.Event(), Turns()
    service = Service(
        guard,
        Auth(Tokens(guard.store), open_to_this_machine),
        Rates(settings.requests_per_minute, settings.rows_per_minute),
        Ingest(guard, settings.max_rows, turns),
        turns,
        Watching(guard, wanted=settings.watch if watch is None else watch),
        LiveVersions(guard.store, stopping),
        stopping,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.watching.running():
            yield
            stopping.set()

    app = FastAPI(
        title="Rollguard",
        version=__version__,
        description="Records calls of tools, monitors their deployments, and rolls back bad ones.",
        redirect_slashes=False,
        docs_url=None,  # its scripts come from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        lifespan=lifespan,
    )
    app.state.service = service
    answer_problems(app)
    for part in _PARTS:
        part.add_to(app)
    app.openapi = document_of(app, settings.root_path)  # type: ignore[method-assign]
    app.add_middleware(
        LimitedBodies,
        limits=Limits(settings.max_body_bytes, settings.max_decompressed_bytes, settings.body_timeout_seconds),
    )
    app.add_middleware(CheckedHosts, allowed=settings.allowed_hosts, only_here=open_to_this_machine)
    return app
