"""Executions that arrive are looked at at once, whichever process recorded them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from rollguard import AutonomousLoop, ExecutionStore
from rollguard.errors import StoreUnavailable
from rollguard.loop.stages import ArrivalsStage
from rollguard.monitor.actions import ActionTaken
from rollguard.store.database.change_feed import Arrivals, arrivals_in
from rollguard.store.database.engine import Database
from tests.conftest import Guard
from tests.processes import finished, python

LONG = 3_600.0  # seconds: what is waited for comes long before


@pytest.fixture
def watched(guard: Guard) -> Guard:
    """A tool whose second version is under watch since just now, with a healthy baseline."""
    now = datetime.now(UTC)
    for version, days in ((1, 8), (2, 0)):
        guard.deploy(version, at=now - timedelta(days=days))
    guard.calls(95, 5, start=now - timedelta(days=2), hours=24)
    guard.watch(at=now)
    return guard


@pytest.fixture
def arrivals(watched: Guard) -> Iterator[Arrivals]:
    """Listening already."""
    found = watched.store.arrivals()
    assert found.wait(0.0) == set()
    yield found
    found.interrupt()
    found.close()


FAIL = """
import sys
from rollguard import ExecutionStore
failure = {"tool_name": "my_tool", "success": False, "error": "ValueError: no", "version_number": 2}
with ExecutionStore(sys.argv[1]) as store:
    store.store_tool_executions([failure] * 3)
"""


def test_arrivals_of_this_process_are_told(watched: Guard, arrivals: Arrivals) -> None:
    """What this process stores wakes whoever waits, with the tool's name."""
    watched.store.store_tool_execution(tool_name="my_tool", success=True)
    assert arrivals.wait(LONG) == {"my_tool"}
    assert arrivals.wait(0.0) == set()


def test_arrivals_of_another_process_are_told(arrivals: Arrivals, url: str) -> None:
    """What another process stores wakes as well."""
    other = python(FAIL, url)
    assert arrivals.wait(LONG) == {"my_tool"}
    finished(other)


def test_arrivals_after_a_deletion_are_told(watched: Guard, arrivals: Arrivals) -> None:
    """What comes after another program deleted the latest rows wakes too."""
    watched.store.store_tool_executions({"tool_name": "other", "success": True} for _ in range(20))
    arrivals.wait(0.0)
    with watched.store.database.write() as connection:
        connection.execute(sa.text("DELETE FROM tool_executions WHERE tool_name = 'other'"))
    assert arrivals.wait(0.0) == set()
    watched.store.store_tool_execution(tool_name="my_tool", success=True)
    assert arrivals.wait(LONG) == {"my_tool"}


def test_waiting_can_be_interrupted(arrivals: Arrivals) -> None:
    """An interruption ends the wait, and every later one."""
    interrupting = threading.Timer(0.05, arrivals.interrupt)
    interrupting.start()
    assert arrivals.wait(LONG) == set()
    assert arrivals.wait(LONG) == set()
    interrupting.join()


def test_arrivals_in_memory_are_told() -> None:
    """A store in memory tells too."""
    with ExecutionStore("sqlite://") as store:
        arrivals = store.arrivals()
        arrivals.wait(0.0)
        store.store_tool_execution(tool_name="t", success=True)
        assert arrivals.wait(LONG) == {"t"}


def test_a_database_that_is_away_is_said_so() -> None:
    """Waiting on a server that is not there fails in our own words, and may be tried again."""
    arrivals = arrivals_in(Database("postgresql://nobody@/nothing?host=/nowhere"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="cannot be listened to"):
            arrivals.wait(1.0)


async def test_a_running_loop_rolls_back_as_soon_as_the_third_call_fails(watched: Guard, url: str) -> None:
    """The loop need not wait for its next cycle: three failures in a row, recorded by another process, are enough."""
    loop = AutonomousLoop(watched.monitor, check_interval_seconds=86_400)
    running = asyncio.create_task(loop.run(handle_signals=False))
    while not loop.stats["checks"]:
        await asyncio.sleep(0.01)
    other = python(FAIL, url)
    while not loop.stats["rollbacks_triggered"]:
        assert not running.done()
        await asyncio.sleep(0.01)
    finished(other)
    loop.stop()
    await running
    assert loop.stats["cycles"] == 1
    assert loop.stats["arrival_checks"] >= 1
    (rollback,) = watched.store.rollbacks.recent()
    assert (rollback.rollback_type, rollback.to_version) == ("fast", 1)
    assert watched.registry.call("my_tool", x=1) == 2


async def test_a_loop_that_cannot_listen_goes_on_checking(watched: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where arrivals cannot be learnt of, the cycles are made all the same, and it is counted as an error."""

    class Broken:
        def wait(self, timeout: float) -> set[str]:
            raise StoreUnavailable("gone")

        def interrupt(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(watched.store, "arrivals", Broken)
    loop = AutonomousLoop(watched.monitor)
    running = asyncio.create_task(loop.run(handle_signals=False))
    while not loop.stats["checks"]:
        await asyncio.sleep(0.01)
    loop.stop()
    await running
    assert loop.stats["errors"] >= 1


class Clock:
    """The clocks of a thread that waits and works for as long as a test says."""

    def __init__(self) -> None:
        self.now = self.worked = 0.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.worked


@pytest.mark.parametrize(
    ("waits", "works", "rests"),
    [(2.0, 0.25, 2.25), (0.0, 0.5, 2.0), (1.0, 0.5, 2.0), (0.0, 0.0, 0.02)],
)
def test_waiting_is_no_work(
    watched: Guard, monkeypatch: pytest.MonkeyPatch, waits: float, works: float, rests: float
) -> None:
    """After a check that waited for a lock the stage rests about as long; four times as long only after work."""
    clock = Clock()

    class Waiting(ArrivalsStage):
        def check(self, tool_names: Collection[str], now: datetime | None) -> Iterator[ActionTaken | Exception]:
            clock.now += waits + works
            clock.worked += works
            return iter(())

    stage = Waiting(watched.monitor)
    stage.start()
    watched.store.store_tool_execution(tool_name="my_tool", success=True)
    monkeypatch.setattr("rollguard.loop.stages.arrivals.time", clock)
    assert stage.run(None)["arrival_checks"] == 0
    assert stage.rest == rests
    stage.interrupt()
    stage.close()
