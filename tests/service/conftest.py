"""A service in this process, spoken to over ASGI: no socket, no thread of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from rollguard import Rollguard
from rollguard.model.attempt import State
from rollguard.service.app import create_app
from rollguard.settings import ServiceSettings, Settings
from rollguard.store.schema import improvement_attempts
from tests.loop.improving import System

HERE = "http://127.0.0.1"
APPS: dict[Any, Any] = {}


@pytest.fixture
def guard(url: str, tools_dir: Path) -> Iterator[Rollguard]:
    """A whole system on each database."""
    with Rollguard(Settings(database=url, tools_dir=tools_dir)) as opened:
        yield opened


@pytest.fixture
def sqlite_guard(tmp_path: Path, sqlite_template: Path) -> Iterator[Rollguard]:
    """A whole system on SQLite."""
    file = tmp_path / "rollguard.db"
    file.write_bytes(sqlite_template.read_bytes())
    (tmp_path / "tools").mkdir(exist_ok=True)
    with Rollguard(Settings(database=f"sqlite:///{file}", tools_dir=tmp_path / "tools")) as opened:
        yield opened


def client_of(guard: Rollguard, *, open_: bool = True, **settings: Any) -> TestClient:
    """A client of the guard's service, with some settings of its own; without a watcher."""
    import dataclasses

    changed = dataclasses.replace(guard.settings, service=ServiceSettings(**settings))
    guard.settings = changed
    app = create_app(guard, open_to_this_machine=open_, watch=False)
    key = (open_, tuple(sorted(settings.items())))
    known = APPS.setdefault(
        key, app
    )  # the first request to an application makes its routes, which takes a third of a second
    for name, value in app.state._state.items():
        if name != "filters":  # they are of the routes
            setattr(known.state, name, value)
    return TestClient(known, HERE, raise_server_exceptions=False)


@pytest.fixture
def client(guard: Rollguard) -> TestClient:
    """Whoever calls from this machine while there is no token."""
    return client_of(guard)


@pytest.fixture
def here(sqlite_guard: Rollguard) -> TestClient:
    """As `client`, on SQLite alone: what does not depend on the database."""
    return client_of(sqlite_guard)


@pytest.fixture
def proposed(tmp_path: Path, sqlite_template: Path) -> Iterator[System]:
    """A system whose loop proposes a repair, which waits for a person without a limit."""
    shutil.copy(sqlite_template, tmp_path / "rollguard.db")
    system = System(f"sqlite:///{tmp_path}/rollguard.db", tmp_path, rules={})
    system.weak().tick()
    assert system.attempt.state is State.WAITING
    with system.store.database.write() as connection:
        connection.execute(sa.update(improvement_attempts).values(expires_at=None))
    yield system
    system.close()


@pytest.fixture
def token(sqlite_guard: Rollguard) -> Callable[..., dict[str, str]]:
    """Makes tokens; returns the header of one."""

    def make(*scopes: str, name: str = "ann", tools: tuple[str, ...] = (), **more: Any) -> dict[str, str]:
        now = more.pop("now", datetime.now(UTC))
        _made, secret = sqlite_guard.store.tokens.create(name, scopes, tools=tools, created_by="me", now=now, **more)
        return {"authorization": f"Bearer {secret}"}

    return make


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    """An execution as a caller sends it."""
    one = {"tool_name": "my_tool", "success": True, "duration_ms": 2.5, "execution_id": f"call-{number}"}
    return one | {"executed_at": "2026-03-01T12:00:00+00:00", "parameters": {"x": number}} | changes
