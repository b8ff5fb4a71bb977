"""Shorthand for the stories of rollbacks: a channel that remembers, a regression, an actuator that obeys the test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from rollguard.errors import ActuatorFailed
from rollguard.model.event import Event
from rollguard.registry.deploy.actuators import Request
from tests.conftest import NOW, Guard, code

LATER = NOW + timedelta(hours=2)


class Told:
    """A channel that remembers what it was told."""

    name = "test"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        """What it was told of, in request."""
        return [str(event.kind) for event in self.events]


def regressed(guard: Guard, *, versions: int = 2, at: datetime = NOW, **overrides: object) -> int:
    """A session whose deployment, at `at`, clearly made the tool worse."""
    for version in range(1, versions + 1):
        guard.deploy(version, at=at - timedelta(days=versions - version))
    session_id = guard.watch(at=at, **overrides)
    guard.calls(95, 5, start=at - timedelta(days=3), hours=24)
    guard.calls(10, 10, start=at, hours=1)
    return session_id


def deploy_bad(guard: Guard, version: int, *, at: datetime, force: bool = False, **overrides: object) -> int:
    """Deploy one more version that makes the tool worse; its session."""
    guard.registry.deploy("my_tool", code(version), deployed_at=at, force=force)
    session_id = guard.watch(at=at, **overrides)
    guard.calls(0, 20, start=at, hours=0.1)
    return session_id


class Place:
    """A place that is not the folder: an actuator that really keeps what it is told to run.

    Attributes:
        runs: the code that runs there now.
        requests: every request that it was given.
        before: called at the beginning of a request; whatever it does happens before the version is in its place.
        after: the same when it is in its place and not acknowledged yet.
        down: what is wrong with it; None where nothing is.
        heedless: whether it carries out a request that is out of date, as it should not.
    """

    kind = "command"
    patience = 30.0

    def __init__(self) -> None:
        self.runs: str | None = None
        self.requests: list[Request] = []
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None
        self.down: str | None = None
        self.heedless = False
        self._latest = 0

    def put(self, request: Request) -> str | None:
        """Run the request's version, unless it is out of date."""
        self.requests.append(request)
        self._once("before")
        if self.down is not None:
            raise ActuatorFailed(self.down, f"the end of what it said: {self.down}")
        if request.sequence < self._latest and not self.heedless:
            raise ActuatorFailed(f"request {request.sequence} comes after {self._latest}")
        self._latest = request.sequence
        self.runs = request.version.code.decode()
        self._once("after")
        return f"runs version {request.version.version_number}"

    @property
    def asked(self) -> list[tuple[str, int]]:
        """(action, version) of each request."""
        return [(request.action, request.version.version_number) for request in self.requests]

    def _once(self, moment: str) -> None:
        call = getattr(self, moment)
        setattr(self, moment, None)
        if call is not None:
            call()
