"""Calls that name the request they are made for: they count once, with the last outcome."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from datetime import UTC, datetime, timedelta

import pytest

import rollguard
from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry, tool
from rollguard.errors import InvalidInput
from rollguard.record import Recorder, Spool
from tests.conftest import Guard
from tests.registry.helpers import executions

FLAKY = """
def my_tool(ok=True):
    if not ok:
        raise ValueError("not now")
    return 1
"""


def _requests(store: ExecutionStore, tool_name: str | None = None) -> list[str | None]:
    return [row["request_id"] for row in executions(store, tool_name)]


def test_calls_inside_carry_the_id(store: ExecutionStore, registry: ToolRegistry) -> None:
    """Every call that begins inside carries the id, whether it succeeds or fails; others carry none."""
    registry.deploy("my_tool", FLAKY)
    registry.call("my_tool")
    with rollguard.request("r-1"):
        registry.call("my_tool")
        with pytest.raises(ValueError, match="not now"):
            registry.call("my_tool", ok=False)
    registry.call("my_tool")
    assert _requests(store) == [None, "r-1", "r-1", None]


def test_a_tool_that_returns_nothing(store: ExecutionStore, registry: ToolRegistry) -> None:
    """The shortest way of a call carries the id too."""
    registry.deploy("my_tool", "def my_tool(): ...\n")
    with rollguard.request("r-1"):
        registry.call("my_tool")
    assert _requests(store) == ["r-1"]


def test_nested(store: ExecutionStore, registry: ToolRegistry) -> None:
    """The inner request holds inside the outer one, None is none, and an exception ends it like any other way out."""
    registry.deploy("my_tool", FLAKY)
    with rollguard.request("outer"):
        with rollguard.request("inner"):
            registry.call("my_tool")
        with rollguard.request(None):
            registry.call("my_tool")
        with pytest.raises(ValueError, match="not now"), rollguard.request("raised"):
            registry.call("my_tool", ok=False)
        registry.call("my_tool")
    assert _requests(store) == ["inner", None, "raised", "outer"]


@pytest.mark.parametrize("given", ["", "a\nb", "x" * 256, 7, b"r-1"])
def test_no_id(given: object) -> None:
    """What cannot be an id is refused where it is given, before anything is called."""
    with pytest.raises(InvalidInput, match="request_id"):
        rollguard.request(given)  # type: ignore[arg-type]


def test_a_parameter_of_the_same_name(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A tool may have a parameter `request_id` of its own: the two have nothing to do with each other."""
    registry.deploy("my_tool", "def my_tool(request_id):\n    return request_id\n")
    with rollguard.request("ours"):
        assert registry.call("my_tool", request_id="theirs") == "theirs"
    assert [(row["request_id"], row["parameters"]) for row in executions(store)] == [("ours", {"request_id": "theirs"})]


def test_threads(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A thread has no request unless it is given the context, and requests of two threads do not mix."""
    registry.deploy("my_tool", "def my_tool(who):\n    return who\n")
    both = threading.Barrier(2)

    def run(who: str) -> None:
        with rollguard.request(who):
            both.wait(timeout=300)
            registry.call("my_tool", who=who)
            both.wait(timeout=300)

    def call(who: str | None) -> None:
        registry.call("my_tool", who=who)

    with rollguard.request("here"):
        threads = [
            threading.Thread(target=run, args=("a",)),
            threading.Thread(target=run, args=("b",)),
            threading.Thread(target=contextvars.Context().run, args=(call, None)),
            threading.Thread(target=contextvars.copy_context().run, args=(call, "here")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = executions(store)
    assert len(rows) == 4
    assert all(row["request_id"] == row["result"] for row in rows)


@pytest.mark.parametrize("source", ["async def my_tool(who):\n    return who\n", "def my_tool(who):\n    return who\n"])
def test_tasks(store: ExecutionStore, registry: ToolRegistry, source: str) -> None:
    """Each task carries its own id through `acall`, async tool or not; a task begun inside carries its maker's."""
    registry.deploy("my_tool", source)

    async def ask(who: str) -> None:
        with rollguard.request(who):
            await registry.acall("my_tool", who=who)
            await asyncio.create_task(registry.acall("my_tool", who=who))

    async def main() -> None:
        await asyncio.gather(*(ask(f"r-{number}") for number in range(5)))

    asyncio.run(main())
    rows = executions(store)
    assert len(rows) == 10
    assert all(row["request_id"] == row["result"] for row in rows)


def test_functions_that_record_themselves(store: ExecutionStore) -> None:
    """A function with `@tool(store=...)`, plain or async, carries the id, and so does a tool that a tool calls."""

    @tool(store=store)
    def inner() -> int:
        return 1

    @tool(store=store)
    def outer() -> int:
        return inner()

    @tool(store=store)
    async def awaited() -> int:
        await asyncio.sleep(0)
        return inner()

    with rollguard.request("r-1"):
        outer()
        asyncio.run(awaited())
    assert _requests(store) == ["r-1"] * 4


def test_written_through(store: ExecutionStore, tmp_path: object) -> None:
    """A durable recorder keeps the request as well."""
    recorder = Recorder(store, Spool(f"{tmp_path}/spool.jsonl"), durable=True)

    @tool(recorder=recorder)
    def price() -> float:
        return 1.5

    with rollguard.request("r-1"):
        price()
    assert _requests(store) == ["r-1"]


def test_retries_count_once(store: ExecutionStore, guard: Guard, monitor: DeploymentMonitor) -> None:
    """In a health report a request that was tried three times is one execution, with the last outcome."""
    now = datetime.now(UTC)
    number = guard.registry.deploy("my_tool", FLAKY, deployed_at=now)
    session_id = monitor.start_monitoring("my_tool", now)
    for name, outcomes in (("a", (False, False, True)), ("b", (True,)), ("c", (False, False))):
        with rollguard.request(name):
            for ok in outcomes:
                try:
                    guard.registry.call("my_tool", ok=ok)
                except ValueError:
                    assert not ok
    assert [row["version_number"] for row in executions(store)] == [number] * 6
    current = monitor.check_health("my_tool", session_id, now=now + timedelta(hours=1))["current"]
    assert (current["total_executions"], current["successes"]) == (3, 2)
