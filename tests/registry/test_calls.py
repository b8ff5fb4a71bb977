"""A call runs the live version, leaves result and exception alone, and is recorded."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import InvalidSetting
from rollguard.registry import FailureRule, Folder
from tests.processes import finished, python
from tests.registry.helpers import executions


def write(folder: Path, code: str, name: str = "my_tool") -> None:
    Folder(folder).swap(name, code.encode())


def only(store: ExecutionStore) -> dict[str, Any]:
    (row,) = executions(store)
    return row


# --- results and exceptions ------------------------------------------------------------------------------------------


def test_a_success_is_recorded(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A call that returns is a success with its duration, parameters, result, version and the time it began."""
    write(tools_dir, "def my_tool(a, b=2):\n    return {'sum': a + b}\n")
    registry.refresh()
    before = datetime.now(UTC)
    assert registry.call("my_tool", a=1) == {"sum": 3}
    row = only(store)
    assert (row["tool_name"], row["success"], row["version_number"]) == ("my_tool", True, 1)
    assert (row["parameters"], row["result"]) == ({"a": 1}, {"sum": 3})
    assert (row["error"], row["error_type"]) == (None, None)
    assert 0 <= row["duration_ms"] < 10_000
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= row["executed_at"] <= datetime.now(UTC)


def test_the_result_is_the_very_object(registry: ToolRegistry, tools_dir: Path) -> None:
    """The caller gets the object that the tool returned, not a copy."""
    write(tools_dir, "THING = object()\ndef my_tool():\n    return THING\n")
    result = registry.call("my_tool")
    module = registry.get_tool("my_tool").module
    assert result is vars(module)["THING"]
    assert asyncio.run(registry.acall("my_tool")) is result


@pytest.mark.parametrize("form", ["def", "async def"])
def test_a_failure_is_recorded_and_raised(
    registry: ToolRegistry, store: ExecutionStore, tools_dir: Path, form: str
) -> None:
    """A call that raises is a failure with the error's type and message; the very exception reaches the caller."""
    code = f"ERROR = ValueError('bad x: 7')\n{form} my_tool(x):\n    deeper()\ndef deeper():\n    raise ERROR\n"
    write(tools_dir, code)
    for call in (registry.call, lambda *a, **k: asyncio.run(registry.acall(*a, **k))):
        with pytest.raises(ValueError, match="bad x: 7") as caught:
            call("my_tool", x=7)
        assert caught.value is vars(registry.get_tool("my_tool").module)["ERROR"]
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert [(f.filename, f.name, f.line) for f in frames][-2:] == [
            (str(tools_dir / "my_tool.py"), "my_tool", "deeper()"),
            (str(tools_dir / "my_tool.py"), "deeper", "raise ERROR"),
        ]
    first, second = executions(store)
    for row in (first, second):
        assert (row["success"], row["error_type"], row["error"]) == (False, "ValueError", "bad x: 7")
        assert (row["parameters"], row["result"], row["version_number"]) == ({"x": 7}, None, 1)


def test_wrong_parameters_are_the_tools_failure(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A call with parameters that the tool does not take is a recorded TypeError: its signature may have changed."""
    write(tools_dir, "def my_tool(x): ...\n")
    with pytest.raises(TypeError):
        registry.call("my_tool", y=1)
    assert only(store)["error_type"] == "TypeError"


def test_exceptions_of_every_kind(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """SystemExit is a failure of the tool; KeyboardInterrupt is the user's, passes through and is not recorded."""
    write(tools_dir, "import builtins\ndef my_tool(kind):\n    raise getattr(builtins, kind)('x')\n")
    for form in ("sync", "async"):
        if form == "async":
            write(tools_dir, "import builtins\nasync def my_tool(kind):\n    raise getattr(builtins, kind)('x')\n")
        with pytest.raises(SystemExit):
            registry.call("my_tool", kind="SystemExit")
        with pytest.raises(KeyboardInterrupt):
            registry.call("my_tool", kind="KeyboardInterrupt")
    assert [row["error_type"] for row in executions(store)] == ["SystemExit", "SystemExit"]


async def test_stop_iteration_from_a_thread(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A plain tool that raises StopIteration does not hang `acall`; as in any coroutine it becomes a RuntimeError."""
    write(tools_dir, "def my_tool():\n    return next(iter([]))\n")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(registry.acall("my_tool"), 300)
    assert only(store)["error_type"] == "StopIteration"


async def test_system_exit_from_a_thread(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A plain tool that calls sys.exit() under `acall` is a recorded failure that reaches the caller."""
    write(tools_dir, "import sys\ndef my_tool():\n    sys.exit(3)\n")
    with pytest.raises(SystemExit):
        await registry.acall("my_tool")
    assert only(store)["error_type"] == "SystemExit"


@pytest.mark.parametrize("raised", ["OSError", "SystemExit(3)", "type('Odd', (Exception,), {'__repr__': None})"])
def test_an_exception_that_cannot_speak(
    registry: ToolRegistry, store: ExecutionStore, tools_dir: Path, raised: str
) -> None:
    """An exception whose str() raises, even SystemExit, is recorded by its type, and raised unchanged."""
    write(
        tools_dir,
        f"class Mute(Exception):\n    def __str__(self):\n        raise {raised}\ndef my_tool():\n    raise Mute\n",
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class lives in the tool
        registry.call("my_tool")
    assert type(caught.value).__name__ == "Mute"
    assert only(store)["error_type"] == "Mute"


def test_what_ends_programs_in_a_result(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A result whose repr raises SystemExit, and an `is_failure` that does, leave the caller its result."""
    write(
        tools_dir,
        "from rollguard import tool\nclass Odd:\n    def __repr__(self): raise SystemExit\n"
        "def judge(result): raise SystemExit\n@tool(is_failure=judge)\ndef my_tool(): return Odd()\n",
    )
    assert type(registry.call("my_tool")).__name__ == "Odd"
    row = only(store)
    assert (row["success"], row["result"]) == (False, "<Odd>")


# --- parameters ------------------------------------------------------------------------------------------------------


def test_any_parameter_name(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A tool's parameters may have any name, also those that the registry's own methods use."""
    names = ["self", "tool_name", "parameters", "func", "function", "args", "name", "registry", "success", "result"]
    write(tools_dir, f"def my_tool({', '.join(names)}):\n    return [{', '.join(names)}]\n")
    given = {name: number for number, name in enumerate(names)}
    assert registry.call("my_tool", **given) == list(given.values())
    assert asyncio.run(registry.acall("my_tool", **given)) == list(given.values())
    assert [row["parameters"] for row in executions(store)] == [given, given]


@pytest.mark.parametrize(
    ("signature", "given", "expected"),
    [
        ("a, /, b", {"a": 1, "b": 2}, [1, 2]),
        ("a, b=5, /", {"a": 1}, [1, 5]),
        ("a=4, b=5, /", {"b": 1}, [4, 1]),
        ("a, /, **b", {"a": 1, "c": 2}, [1, {"c": 2}]),
        ("b, a=(), /", {"b": 1, "a": 2}, [2, 1]),
    ],
)
def test_positional_only_parameters(
    registry: ToolRegistry, tools_dir: Path, signature: str, given: dict[str, Any], expected: list[Any]
) -> None:
    """Parameters that a tool takes by position only are given by name like all others."""
    write(tools_dir, f"def my_tool({signature}):\n    return [a, b]\n")
    assert registry.call("my_tool", **given) == expected
    write(
        tools_dir,
        "import functools\ndef traced(f):\n    @functools.wraps(f)\n    def inner(*args, **kw):\n"
        f"        return f(*args, **kw)\n    return inner\n@traced\ndef my_tool({signature}):\n    return [a, b]\n",
    )
    assert registry.call("my_tool", **given) == expected
    with pytest.raises(TypeError):
        registry.call("my_tool", nonsense=1)


def test_parameters_as_they_were_given(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """What is recorded is what the tool was called with, even when the tool changes it."""
    write(tools_dir, "def my_tool(items, **more):\n    items.clear()\n    more.clear()\n    return items\n")
    items = [1, 2]
    assert registry.call("my_tool", items=items, other=3) is items
    row = only(store)
    assert (row["parameters"], row["result"]) == ({"items": [1, 2], "other": 3}, [])


def test_recording_does_not_run_results_down(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Generators and iterators, as parameters and as results, wherever they are inside, reach the other side whole."""
    write(
        tools_dir,
        "from rollguard import tool\n"
        "@tool(is_failure=lambda result: False)\n"
        "def my_tool(source):\n    return {'rows': (x + 1 for x in source), 'more': [map(str, [1])]}\n",
    )
    result = registry.call("my_tool", source=(x for x in [1, 2]))
    assert list(result["rows"]) == [2, 3]
    assert list(result["more"][0]) == ["1"]
    write(tools_dir, "def my_tool():\n    yield from 'ab'\n")
    registry.get_tool("my_tool")  # waits for the check of the new code
    assert list(registry.call("my_tool")) == ["a", "b"]
    first, second = executions(store)
    assert first["parameters"]["source"].startswith("<generator")
    assert (second["success"], second["result"]) == (True, None)


# --- sync and async --------------------------------------------------------------------------------------------------


def test_async_tool_from_plain_code(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """`call` runs an async tool in an event loop of its own."""
    write(tools_dir, "import asyncio\nasync def my_tool(x):\n    await asyncio.sleep(0)\n    return x\n")
    assert [registry.call("my_tool", x=n) for n in range(3)] == [0, 1, 2]
    assert [row["result"] for row in executions(store)] == [0, 1, 2]


async def test_plain_tool_from_async_code(registry: ToolRegistry, tools_dir: Path) -> None:
    """`acall` runs a plain tool in a thread, so that the event loop goes on meanwhile."""
    write(tools_dir, "import threading\nGO = threading.Event()\ndef my_tool():\n    return GO.wait(300)\n")
    under_way = asyncio.create_task(registry.acall("my_tool"))
    go = vars(registry.get_tool("my_tool").module)["GO"]
    go.set()  # possible only while the loop is free
    assert await under_way is True


async def test_async_tool_inside_a_loop(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """`call` of an async tool inside a running event loop is a RuntimeError that says what to use instead."""
    write(tools_dir, "async def my_tool(): ...\n", "plainly")
    write(tools_dir, "async def plainly(): ...\n", "plainly")
    write(tools_dir, "async def inner(): ...\ndef my_tool():\n    return inner()\n")
    for name in ("plainly", "my_tool"):
        with pytest.raises(RuntimeError, match=f"await registry.acall\\('{name}'"):
            registry.call(name)
    assert executions(store) == []
    assert await registry.acall("plainly") is None


@pytest.mark.parametrize("fails", [False, True])
def test_plain_function_around_an_async_one(
    registry: ToolRegistry, store: ExecutionStore, tools_dir: Path, *, fails: bool
) -> None:
    """A decorator that hides that its function is async does not turn a call into a success before it has run."""
    write(
        tools_dir,
        "def traced(f):\n    def inner(**k): return f(**k)\n    return inner\n"
        "@traced\nasync def my_tool(fails):\n    if fails: raise KeyError('x')\n    return 'ran'\n",
    )
    for call in (registry.call, lambda *a, **k: asyncio.run(registry.acall(*a, **k))):
        if fails:
            with pytest.raises(KeyError):
                call("my_tool", fails=True)
        else:
            assert call("my_tool", fails=False) == "ran"
    assert [row["success"] for row in executions(store)] == [not fails] * 2


async def test_cancelled(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A call that is cancelled is recorded as given up by its caller, with its duration."""
    write(
        tools_dir,
        "import asyncio\nSTARTED = asyncio.Event()\n"
        "async def my_tool():\n    STARTED.set()\n    await asyncio.Event().wait()\n",
    )
    task = asyncio.create_task(registry.acall("my_tool"))
    started = vars((await asyncio.to_thread(registry.get_tool, "my_tool")).module)["STARTED"]
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = executions(store)
    assert (row["success"], row["error_type"], row["duration_ms"] > 0) == (False, "CallerGaveUp", True)


# --- failures that are returned --------------------------------------------------------------------------------------


def test_the_tools_own_say(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """`@tool(is_failure=)` and a class's `is_failure` decide which returned results are failures."""
    write(
        tools_dir,
        "from rollguard import tool\n@tool(is_failure=lambda result: result < 0)\ndef negative(x):\n    return x\n",
        "negative",
    )
    write(
        tools_dir,
        "class T:\n    def execute(self, x):\n        return x\n    def get_tool_definition(self): return {}\n"
        "    def is_failure(self, result):\n        return result is None\n",
        "nothing",
    )
    assert [registry.call("negative", x=x) for x in (1, -1)] == [1, -1]
    assert [registry.call("nothing", x=x) for x in (1, None)] == [1, None]
    rows = executions(store)
    assert [(r["success"], r["error_type"], r["error"]) for r in rows] == [
        (True, None, None),
        (False, "ReturnedFailure", "returned -1"),
        (True, None, None),
        (False, "ReturnedFailure", "returned null"),
    ]
    assert rows[1]["result"] == -1


def test_the_text_of_a_returned_error(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A text that `is_failure` returns is the error; the empty one is no failure."""
    write(
        tools_dir,
        "from rollguard import tool\n@tool(is_failure=lambda r: r.get('error'))\n"
        "def my_tool(**given):\n    return given\n",
    )
    for error in ("no such city", "", None, 7):
        assert registry.call("my_tool", error=error, city="Atlantis") == {"error": error, "city": "Atlantis"}
    assert [(row["error_type"], row["error"]) for row in executions(store)] == [
        ("ReturnedFailure", "no such city"),
        (None, None),
        (None, None),
        ("ReturnedFailure", 'returned {"error":7,"city":"Atlantis"}'),
    ]


def test_the_settings_say(store: ExecutionStore, tools_dir: Path) -> None:
    """A `FailureRule` from the settings decides for tools that say nothing themselves."""
    rule = FailureRule.from_settings("tools.my_tool.failure", {"keys": ["error"], "values": {"ok": [False, 0]}})
    registry = ToolRegistry(tools_dir, store=store, failure_rules={"my_tool": rule})
    write(tools_dir, "def my_tool(result):\n    return result\n")
    for result, fails in [
        ({"error": "no such city"}, True),
        ({"error": None}, False),
        ({"ok": False}, True),
        ({"ok": 0}, True),
        ({"ok": True}, False),
        ({"ok": 1}, False),
        ({"ok": None}, False),
        ("error", False),
        (None, False),
    ]:
        assert registry.call("my_tool", result=result) == result
        assert executions(store)[-1]["success"] is not fails, result
    strict = FailureRule.from_settings("k", {"values": {"ok": [0]}})
    assert strict({"ok": 0}) is True
    assert strict({"ok": False}) is False


def test_the_settings_say_for_objects() -> None:
    """A `FailureRule` reads the fields of dataclasses and pydantic models, and no other attributes."""

    class Model(BaseModel):
        is_error: bool

    @dataclass(slots=True)
    class Answer:
        is_error: bool
        count: int = 0

    class Other:
        is_error = True

    rule = FailureRule(keys=("count",), values={"is_error": (True,)})
    assert [rule(kind(is_error=failed)) for kind in (Model, Answer) for failed in (True, False)] == [True, False] * 2
    assert rule(Answer(is_error=False, count=1)) is True
    assert [rule(result) for result in (Other(), "count", [1], None)] == [False] * 4


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ({"keis": []}, "k.keis"),
        ({"keys": "error"}, "k.keys"),
        ({"keys": [1]}, "k.keys"),
        ({"values": {"a": 1}}, "k.values"),
    ],
)
def test_impossible_rules(setting: dict[str, Any], key: str) -> None:
    """A rule that cannot be meant is refused with the setting's name."""
    with pytest.raises(InvalidSetting) as caught:
        FailureRule.from_settings("k", setting)
    assert caught.value.key == key


def test_is_failure_that_raises(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """When `is_failure` itself raises, the caller still gets the result, and the call counts as failed."""
    write(
        tools_dir,
        "from rollguard import tool\n@tool(is_failure=lambda result: result['ok'])\ndef my_tool():\n    return 5\n",
    )
    assert registry.call("my_tool") == 5
    row = only(store)
    assert (row["success"], row["error_type"]) == (False, "ReturnedFailure")
    assert row["error"].startswith("is_failure raised TypeError")


def test_a_failing_result_that_cannot_be_shown(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A failing result whose repr raises, or that is huge, still reaches the caller, and its error stays short."""
    write(
        tools_dir,
        "from rollguard import tool\nclass Odd:\n    def __repr__(self):\n        raise OSError\n"
        "@tool(is_failure=lambda result: True)\ndef my_tool(big):\n    return 'x' * 100_000 if big else Odd()\n",
    )
    assert type(registry.call("my_tool", big=False)).__name__ == "Odd"
    assert len(registry.call("my_tool", big=True)) == 100_000
    assert [row["success"] for row in executions(store)] == [False, False]
    assert all(len(row["error"]) < 600 for row in executions(store))


def test_errors_do_not_repeat_what_is_redacted(url: str, tools_dir: Path) -> None:
    """What redaction or the off switch keep out of `result` does not come back in the error of a failing result."""
    write(
        tools_dir,
        "from rollguard import tool\n@tool(is_failure=bool)\ndef my_tool():\n    return {'card': '4111'}\n",
    )
    with ExecutionStore(url, redact=lambda tool, what, value: {**value, "card": "***"}) as store:
        registry = ToolRegistry(tools_dir, store=store)
        assert registry.call("my_tool") == {"card": "4111"}
        assert only(store)["error"] == 'returned {"card":"***"}'
        assert registry.failure_in("my_tool", registry.get_tool("my_tool"), {"card": "1"}) == 'returned {"card":"***"}'
    with ExecutionStore(url, store_payloads=False) as store:
        ToolRegistry(tools_dir, store=store).call("my_tool")
        row = executions(store)[-1]
        assert (row["error"], row["result"]) == ("returned a result that counts as a failure", None)


# --- many at once ----------------------------------------------------------------------------------------------------


def test_many_threads(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Calls from many threads are all recorded, each with its own parameters and result."""
    write(tools_dir, "def my_tool(x):\n    return x * 2\n")
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: registry.call("my_tool", x=x), range(64)))
    assert results == [x * 2 for x in range(64)]
    assert sorted((r["parameters"]["x"], r["result"]) for r in executions(store)) == [(x, x * 2) for x in range(64)]
    assert registry.recorder.lost == 0


FORKS = """
import os, signal, sys, threading
from rollguard import ExecutionStore, ToolRegistry
store = ExecutionStore(sys.argv[1])
registry = ToolRegistry(sys.argv[2], store=store)
registry.call("my_tool", x=-1)
stop = threading.Event()
def busy():
    while not stop.is_set():
        registry.call("my_tool", x=-2)
        registry.refresh()
threads = [threading.Thread(target=busy) for _ in range(int(sys.argv[3]))]
for t in threads: t.start()
children = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(300)  # rather than to hang
        try:
            for _ in range(3):
                assert registry.call("my_tool", x=n) == n
            registry.refresh()
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for t in threads: t.join()
assert registry.call("my_tool", x=-3) == -3
assert codes == [0] * 4, codes
assert registry.recorder.lost == 0
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children(store: ExecutionStore, url: str, dialect: str, tools_dir: Path) -> None:
    """Forked children call tools as their parent does, on PostgreSQL even while its threads call them too.

    SQLite's library cannot be forked while another thread is inside of it.
    """
    write(tools_dir, "def my_tool(x):\n    return x\n")
    finished(python(FORKS, url, tools_dir, "0" if dialect == "sqlite" else "3"))
    rows = executions(store)
    for child in range(4):
        assert sum(row["result"] == child for row in rows) == 3
    assert sum(row["result"] == -3 for row in rows) == 1
    assert all(row["version_number"] == 1 for row in rows)


def test_a_lock_held_elsewhere_does_not_reach_the_child(registry: ToolRegistry, tools_dir: Path) -> None:
    """A child forked while another thread is loading a tool can still load tools of its own."""
    write(
        tools_dir,
        "import sys\ngate = sys.modules.get('rg_test_gate')  # only in the process that serves it\n"
        "if gate:\n    gate.started.set()\n    gate.go.wait(300)\ndef slow(): return 1\n",
        "slow",
    )
    write(tools_dir, "def quick():\n    return 2\n", "quick")
    import sys
    import types

    gate: Any = types.ModuleType("rg_test_gate")
    gate.started, gate.go = threading.Event(), threading.Event()
    sys.modules["rg_test_gate"] = gate
    loader = threading.Thread(target=registry.get_tool, args=("slow",))
    loader.start()
    try:
        assert gate.started.wait(300)
        pid = os.fork()
        if pid == 0:
            code = 1
            signal.alarm(300)  # rather than to hang
            try:
                code = 0 if registry.get_tool("quick").function() == 2 else 1
            finally:
                os._exit(code)
        gate.go.set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        gate.go.set()
        loader.join()
        del sys.modules["rg_test_gate"]


def test_recording_never_raises(
    registry: ToolRegistry, store: ExecutionStore, tools_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that nothing can be made of does not disturb the call."""
    write(
        tools_dir,
        "class Odd:\n    def __getattribute__(self, name):\n        raise RuntimeError(name)\n"
        "def my_tool(x):\n    return {1: Odd(), (2, 3): {Odd: Odd()}}\n",
    )
    with caplog.at_level(logging.ERROR):
        assert len(registry.call("my_tool", x=float("nan"))) == 2
    assert [record for record in caplog.records if record.name.startswith("rollguard")] == []
    row = only(store)
    assert row["parameters"] == {"x": "NaN"}
    assert list(row["result"]) == ["1", "[2, 3]"]
