"""Shorthand that the stories share: the contract's clock, a channel that remembers, deployments with their calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rollguard import ExecutionStore
from rollguard.model.event import Event
from tests.conftest import Guard

TEN_AM = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)  # "Tool deployed at 10:00 AM"
WEEK = timedelta(days=7)


def after(hours: float) -> datetime:
    """So many hours after the deployment at 10:00 AM."""
    return TEN_AM + timedelta(hours=hours)


class Channel:
    """A channel that keeps what it was told."""

    name = "kept"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)


def baseline(guard: Guard, successes: int, failures: int, *, ms: float = 10.0, days: int = 7) -> None:
    """Executions spread over the days before the deployment at 10:00 AM."""
    guard.calls(successes, failures, start=TEN_AM - timedelta(days=days), hours=days * 24.0, ms=ms)


def current(guard: Guard, successes: int, failures: int, *, hours: float, ms: float = 10.0) -> None:
    """Executions spread over the hours since the deployment at 10:00 AM."""
    guard.calls(successes, failures, start=TEN_AM, hours=hours, ms=ms)


def deploy_at_ten(guard: Guard, **overrides: object) -> int:
    """Version 1 has been live for a week; version 2 is deployed at 10:00 AM and watched. Returns the session."""
    guard.deploy(1, at=TEN_AM - WEEK)
    guard.deploy(2, at=TEN_AM)
    return guard.watch(at=TEN_AM, **overrides)


def execute(
    store: ExecutionStore,
    count: int,
    *,
    success: bool,
    at: datetime,
    version: int | None = None,
    error: str | None = None,
    tool: str = "my_tool",
) -> None:
    """So many executions at one moment, of a named version if one is given."""
    store.store_tool_executions(
        {"tool_name": tool, "success": success, "executed_at": at, "version_number": version, "error": error}
        for _ in range(count)
    )


def release(guard: Guard, version: int, *, day: int, good: bool) -> dict[str, Any]:
    """Deploy a version on a day of its own and watch it to the end: completed when good, else to be rolled back."""
    moment = TEN_AM + timedelta(days=day)
    guard.deploy(version, at=moment)
    return watch_to_the_end(guard, day=day, good=good)


def watch_to_the_end(guard: Guard, *, day: int, good: bool) -> dict[str, Any]:
    """Watch what is live from 10:00 AM of a day on; all of its calls succeed, or all of them fail."""
    moment = TEN_AM + timedelta(days=day)
    guard.calls(20, 0, start=moment - timedelta(hours=10), hours=9)
    session_id = guard.watch(at=moment)
    guard.calls(20 if good else 0, 0 if good else 20, start=moment, hours=1)
    checked_at = moment + timedelta(hours=24 if good else 2)
    return guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=checked_at)
