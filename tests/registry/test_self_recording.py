"""`@tool(store=...)`: a function of a program's own records its calls, and leaves them as they were."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, Rollguard, Settings, ToolRegistry, tool
from rollguard.errors import InvalidInput
from rollguard.registry import FailureRule, Folder, LoadedTool
from rollguard.registry.serve.json_schema import definition_of
from tests.registry.helpers import executions
from tests.registry.opened import OPEN


def only(store: ExecutionStore) -> dict[str, Any]:
    (row,) = executions(store)
    return row


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_a_success(store: ExecutionStore) -> None:
    """A call that returns is a success with its duration, parameters by name, result and the time it began."""

    @tool(store=store)
    def add(a: int, b: int = 2, *more: int, note: str = "") -> dict[str, int]:
        return {"sum": a + b + sum(more)}

    before = datetime.now(UTC)
    assert add(1) == {"sum": 3}
    assert add(1, b=3) == {"sum": 4}
    assert add(1, 2, 3, 4, note="n") == {"sum": 10}
    rows = executions(store)
    assert [row["parameters"] for row in rows] == [
        {"a": 1},
        {"a": 1, "b": 3},
        {"a": 1, "b": 2, "more": [3, 4], "note": "n"},
    ]
    assert {(row["tool_name"], row["success"], row["version_number"]) for row in rows} == {("add", True, None)}
    assert rows[0]["result"] == {"sum": 3}
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= rows[0]["executed_at"] <= datetime.now(UTC)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [ValueError("bad x: 7"), SystemExit(3)])
def test_a_failure(store: ExecutionStore, error: BaseException, *, is_async: bool) -> None:
    """A call that raises is a failure with the error's type and message; the very exception reaches the caller."""

    @tool(store=store)
    def plainly(x: int) -> None:
        raise error

    @tool(store=store)
    async def later(x: int) -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(later(7)) if is_async else plainly(7)
    assert caught.value is error
    row = only(store)
    assert (row["success"], row["error_type"], row["error"]) == (False, type(error).__name__, str(error))
    assert (row["parameters"], row["result"]) == ({"x": 7}, None)


def test_wrong_parameters(store: ExecutionStore) -> None:
    """Parameters that the function does not take are its failure, kept as they were given."""

    @tool(store=store)
    def my_tool(x: int) -> None: ...

    wrong: Any = my_tool
    with pytest.raises(TypeError):
        wrong(1, 2, 3, y=4)
    row = only(store)
    assert (row["error_type"], row["parameters"]) == ("TypeError", {"x": 1, "args": [2, 3], "y": 4})


def test_interrupted_and_cancelled(store: ExecutionStore) -> None:
    """KeyboardInterrupt is not recorded, a cancellation is; both pass through."""

    @tool(store=store)
    def interrupted() -> None:
        raise KeyboardInterrupt

    started = asyncio.Event()

    @tool(store=store)
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(endless())
        await started.wait()
        task.cancel()
        await task

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert [(row["success"], row["error_type"]) for row in executions(store)] == [(False, "CallerGaveUp")]


def test_results_are_the_very_objects(store: ExecutionStore) -> None:
    """The caller gets the object that was returned, and what the function changes of its parameters stays unseen."""

    @tool(store=store)
    def clear(items: list[int]) -> list[int]:
        items.clear()
        return items

    items = [1, 2]
    assert clear(items) is items
    assert (only(store)["parameters"], only(store)["result"]) == ({"items": [1, 2]}, [])


def test_generators_are_recorded_when_they_end(store: ExecutionStore) -> None:
    """A generator is recorded when it ends, with what failed in its middle, and reaches the caller whole."""

    @tool(store=store)
    def lines() -> Iterator[str]:
        yield from "ab"
        raise ValueError("the end")

    @tool(store=store)
    async def later() -> AsyncIterator[str]:
        yield "a"

    found = lines()
    assert (next(found), next(found)) == ("a", "b")
    with pytest.raises(ValueError, match="the end"):
        next(found)

    async def read() -> list[str]:
        return [line async for line in later()]

    assert asyncio.run(read()) == ["a"]
    rows = [(row["tool_name"], row["success"], row["error"], row["result"]) for row in executions(store)]
    assert rows == [("lines", False, "the end", None), ("later", True, None, None)]


def test_async_behind_a_plain_function(store: ExecutionStore) -> None:
    """A plain function that returns a coroutine is recorded when that was awaited, with what came of it."""

    async def inner(*, fails: bool) -> str:
        await asyncio.sleep(0)
        if fails:
            raise KeyError("x")
        return "ran"

    @tool(store=store)
    def outer(fails: bool) -> Any:
        return inner(fails=fails)

    assert asyncio.run(outer(False)) == "ran"
    with pytest.raises(KeyError):
        asyncio.run(outer(True))
    assert [(row["success"], row["error_type"], row["result"]) for row in executions(store)] == [
        (True, None, "ran"),
        (False, "KeyError", None),
    ]


@pytest.mark.parametrize("rule", [FailureRule(keys=("error",)), lambda result: "error" in result])
def test_failures_that_are_returned(store: ExecutionStore, rule: Callable[[Any], bool]) -> None:
    """`is_failure`, a `FailureRule` or any function, says which returned results are failures."""

    @tool(store=store, is_failure=rule)
    def search(result: dict[str, str]) -> dict[str, str]:
        return result

    @tool(store=store, is_failure=rule)
    async def later(result: dict[str, str]) -> dict[str, str]:
        return result

    for result in ({"rows": "2"}, {"error": "gone"}):
        assert search(result) is result
        assert asyncio.run(later(result)) is result
    rows = executions(store)
    assert [row["success"] for row in rows] == [True, True, False, False]
    assert rows[-1]["error_type"] == rows[-2]["error_type"] == "ReturnedFailure"


def test_versions(store: ExecutionStore, caplog: pytest.LogCaptureFixture) -> None:
    """The version is a number, or a function that tells it at each call; one that cannot is logged, none is kept."""
    running: list[Any] = [4]

    @tool(store=store, version=3)
    def fixed() -> None: ...

    @tool(store=store, version=lambda: running[0])
    def told() -> None: ...

    fixed()
    for running[0] in (4, 5, None):
        told()
    for running[0] in ("six", 0):
        told()
    running.clear()
    told()
    assert [row["version_number"] for row in executions(store)] == [3, 4, 5, None, None, None, None]
    assert "'six'" in caplog.text
    assert "IndexError" in caplog.text


def test_methods(store: ExecutionStore) -> None:
    """A method is recorded without the object it belongs to."""

    class Shop:
        @tool(store=store)
        def price(self, item: str) -> int:
            return 3

        @classmethod
        @tool(store=store, name="shop_name")
        def name(cls) -> str:
            return cls.__name__

        @staticmethod
        @tool(store=store)
        def tax(amount: int) -> int:
            return amount

    assert (Shop().price("apple"), Shop().price(item="pear"), Shop.name(), Shop.tax(1)) == (3, 3, "Shop", 1)
    assert [(row["tool_name"], row["parameters"]) for row in executions(store)] == [
        ("price", {"item": "apple"}),
        ("price", {"item": "pear"}),
        ("shop_name", {}),
        ("tax", {"amount": 1}),
    ]


# --- what stays as it was --------------------------------------------------------------------------------------------


def test_the_function_stays_what_it_was(store: ExecutionStore) -> None:
    """Name, docstring, signature, being async and the definition for a model are those of the function."""

    def weather(city: str, days: int = 1) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        return city

    async def later(city: str) -> str:
        return city

    recorded = tool(store=store)(weather)
    assert (recorded.__name__, recorded.__doc__) == ("weather", weather.__doc__)
    assert inspect.signature(recorded) == inspect.signature(weather)
    assert inspect.iscoroutinefunction(tool(store=store)(later))
    assert not inspect.iscoroutinefunction(recorded)
    assert definition_of(LoadedTool("weather", recorded, "", is_async=False)) == definition_of(
        LoadedTool("weather", weather, "", is_async=False)
    )


def test_a_mark_alone_changes_nothing() -> None:
    """`@tool` without a store returns the function itself."""

    def plainly() -> int:
        return 1

    assert tool(plainly) is plainly
    assert tool(description="d")(plainly) is plainly


def test_what_cannot_be_meant(store: ExecutionStore, registry: ToolRegistry) -> None:
    """Options that cannot be meant are refused when the function is decorated, with what to do."""

    def function() -> None: ...

    options: dict[str, Any]
    for options, words in (
        ({"store": store, "recorder": registry.recorder}, "one of store and recorder"),
        ({"version": 1}, "give store="),
        ({"name": "x"}, "give store="),
        ({"store": "sqlite:///x.db"}, "str is not an ExecutionStore"),
        ({"store": store, "version": 0}, "version: 0"),
        ({"store": store, "version": True}, "version: True"),
        ({"store": store, "version": "1"}, "version: '1'"),
        ({"store": store, "name": "a\\b"}, "tool_name"),
    ):
        with pytest.raises(InvalidInput, match=words):
            tool(**options)(function)
    with pytest.raises(InvalidInput, match="put it on the method"):
        tool(store=store)(type("Thing", (), {}))
    with pytest.raises(InvalidInput, match="tool_name"):
        tool(store=store)(functools.partial(function))
    tool(store=store, name="named")(functools.partial(function))()
    assert only(store)["tool_name"] == "named"


# --- together with a registry ----------------------------------------------------------------------------------------

HEAD = """
import functools
from rollguard import tool
from tests.registry.opened import OPEN
store = OPEN[-1] if OPEN else None  # where it is only loaded
def traced(f):
    @functools.wraps(f)
    def inner(*args, **kw):
        return f(*args, **kw)
    return inner
def helper():
    return 1
helper = tool(store=store)(helper)
helper.__module__ = "elsewhere"
"""
FORMS = {
    "plain": "@tool(store=store)\ndef my_tool(x):\n    return helper() + x\n",
    "async": "@tool(store=store)\nasync def my_tool(x):\n    return helper() + x\n",
    "wrapped": "@traced\n@tool(store=store)\ndef my_tool(x):\n    return helper() + x\n",
    "wrapped async": "@traced\n@tool(store=store)\nasync def my_tool(x):\n    return helper() + x\n",
    "by position": "@tool(store=store)\ndef my_tool(x, /):\n    return helper() + x\n",
    "another name": (
        "from rollguard import ExecutionStore\nstore = store or ExecutionStore('sqlite://')\n"
        "@tool(store=store, name='other')\ndef function(x):\n    return helper() + x\n"
    ),
    "class": (
        "class Tool:\n    @tool(store=store)\n    def execute(self, x):\n        return helper() + x\n"
        "    def get_tool_definition(self):\n        return {}\n"
    ),
    "recursive": "@tool(store=store)\ndef my_tool(x):\n    return helper() if x == 0 else my_tool(0) + x\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_registry_records_it_once(store: ExecutionStore, tools_dir: Path, form: str) -> None:
    """Called by a registry, a self-recording tool is recorded once, by the registry; what it calls in turn is too."""
    OPEN[:] = [store]
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", HEAD + FORMS[form])
    for call in (registry.call, lambda *a, **k: asyncio.run(registry.acall(*a, **k))):
        assert call("my_tool", x=5) == 6
    OPEN.clear()
    rows = [(row["tool_name"], row["version_number"]) for row in executions(store)]
    again = [("my_tool", None)] if form == "recursive" else []  # the call that it makes of itself is a call
    assert sorted(rows, key=str) == sorted([("my_tool", 1), ("helper", None), *again] * 2, key=str)


@pytest.mark.parametrize("form", ["async", "wrapped async"])
async def test_an_async_one_inside_a_loop(store: ExecutionStore, registry: ToolRegistry, form: str) -> None:
    """`call` of it while an event loop runs is refused, and nothing of it has run."""
    OPEN[:] = [store]
    registry.deploy("my_tool", HEAD + FORMS[form])
    with pytest.raises(RuntimeError, match=r"await registry\.acall"):
        registry.call("my_tool", x=5)
    OPEN.clear()
    assert executions(store) == []


def test_a_registrys_recorder(store: ExecutionStore, tools_dir: Path) -> None:
    """`recorder=` records beside a registry's own calls, as durably."""
    registry = ToolRegistry(tools_dir, store=store, durable=True)

    @tool(recorder=registry.recorder)
    def mine() -> str:
        return registry.call("my_tool")

    Folder(tools_dir).swap("my_tool", b"def my_tool():\n    return 'ran'\n")
    assert mine() == "ran"
    assert [row["tool_name"] for row in executions(store)] == ["my_tool", "mine"]


def test_the_whole_system(url: str, tmp_path: Path) -> None:
    """`@guard.tool` records into the system, and the settings' rule of failure holds beside the function's own."""
    settings = Settings.load(None, {"ROLLGUARD_DATABASE": url, "ROLLGUARD_TOOLS_DIR": str(tmp_path / "tools")})
    rules = {"search": FailureRule(keys=("error",))}
    settings = Settings(database=settings.database, tools_dir=settings.tools_dir, failure_rules=rules)
    with Rollguard(settings) as guard:

        @guard.tool
        def search(result: Any) -> Any:
            return result

        @guard.tool(name="search", version=2, is_failure=lambda result: result is None)
        def other(result: Any) -> Any:
            return result

        for result in ({"error": "x"}, None, {}):
            search(result)
            other(result)
        rows = executions(guard.store)
    assert [(row["success"], row["version_number"]) for row in rows] == [
        (False, None),
        (False, 2),
        (True, None),
        (False, 2),
        (True, None),
        (True, 2),
    ]


def test_a_deployment_that_rollguard_did_not_make(store: ExecutionStore, monitor: DeploymentMonitor) -> None:
    """A function without a file is watched by the time of its deployment: before is the baseline, after is current."""
    fails = False

    @tool(store=store)
    def search() -> str:
        if fails:
            raise ConnectionError("gone")
        return "found"

    for _ in range(20):
        search()
    session_id = monitor.start_monitoring("search", datetime.now(UTC))
    fails = True
    for _ in range(20):
        with pytest.raises(ConnectionError):
            search()
    report = monitor.check_health("search", session_id)
    assert (report["baseline"]["successes"], report["current"]["successes"]) == (20, 0)
    assert (report["verdict"], report["current"]["total_executions"]) == ("regressed", 20)
