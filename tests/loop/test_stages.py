"""Stages: a list of objects with a name and `run(now)`; none stops or delays another."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta

from rollguard import AutonomousLoop
from rollguard.loop.stages import Stage, default_stages
from tests.conftest import NOW, Guard


class Counting:
    """A stage that counts its runs."""

    def __init__(self, name: str = "counting", follows: frozenset[str] = frozenset()) -> None:
        self.name, self.follows = name, follows
        self.interval_seconds = 86_400.0
        self.moments: list[datetime | None] = []

    def run(self, now: datetime | None) -> dict[str, int]:
        self.moments.append(now)
        return {self.name: 1}


class Failing:
    """A stage that is broken."""

    name = "failing"

    def run(self, now: datetime | None) -> dict[str, int]:
        raise ValueError("boom")


class Blocked:
    """A stage that waits for something that takes long."""

    name = "blocked"

    def __init__(self) -> None:
        self.waits, self.goes_on = threading.Event(), threading.Event()

    def run(self, now: datetime | None) -> dict[str, int]:
        self.waits.set()
        self.goes_on.wait(60)
        return {}


def _watched(guard: Guard) -> int:
    guard.deploy(1, at=NOW - timedelta(days=2))
    guard.calls(19, 1, start=NOW - timedelta(days=1))
    return guard.watch()


async def _until(loop: AutonomousLoop, name: str, times: int) -> None:
    while loop.stats.get(name, 0) < times:
        await asyncio.sleep(0.001)


async def test_a_failing_stage_stops_no_other(guard: Guard) -> None:
    """In a cycle a stage that fails is one error; those before and after it run."""
    _watched(guard)
    first, last = Counting("first"), Counting("last")
    stages: list[Stage] = [first, Failing(), *default_stages(guard.monitor, 300.0), last]
    loop = AutonomousLoop(guard.monitor, stages=stages)
    cycle = await loop.check_deployment_health(now=NOW)
    assert (cycle["checks"], cycle["errors"], cycle["first"], cycle["last"]) == (1, 1, 1, 1)
    assert (first.moments, last.moments) == ([NOW], [NOW])
    assert (loop.stats["errors"], loop.stats["last"]) == (1, 1)


async def test_a_failing_stage_stops_no_other_in_a_running_loop(guard: Guard) -> None:
    """While the loop runs a stage that fails is counted, and the sessions are checked all the same."""
    _watched(guard)
    loop = AutonomousLoop(guard.monitor)
    loop.stages.insert(0, Failing())
    running = asyncio.create_task(loop.run(handle_signals=False))
    await _until(loop, "errors", 1)
    await _until(loop, "checks", 1)
    loop.stop()
    await asyncio.wait_for(running, timeout=60)
    assert loop.stats["errors"] == 1


async def test_a_slow_stage_delays_no_other(guard: Guard) -> None:
    """While one stage waits, sessions are checked, and what follows a check runs."""
    _watched(guard)
    blocked, after = Blocked(), Counting("after", follows=frozenset({"health"}))
    loop = AutonomousLoop(guard.monitor)
    loop.stages = [blocked, *loop.stages, after]
    running = asyncio.create_task(loop.run(handle_signals=False))
    await asyncio.to_thread(blocked.waits.wait, 60)
    await _until(loop, "cycles", 1)
    await _until(loop, "after", 2)  # at the start, and after the check
    assert not blocked.goes_on.is_set()
    loop.stop()
    blocked.goes_on.set()
    await asyncio.wait_for(running, timeout=60)
    assert loop.stats["errors"] == 0


async def test_a_stage_can_be_removed(guard: Guard) -> None:
    """A loop without its health stage checks nothing."""
    session_id = _watched(guard)
    loop = AutonomousLoop(guard.monitor)
    loop.stages = [stage for stage in loop.stages if stage.name != "health"]
    assert (await loop.check_deployment_health(now=NOW))["checks"] == 0
    assert guard.store.sessions.checks(session_id) == []
