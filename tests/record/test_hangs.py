"""Calls that do not end well, and those that do not end: given up, too long, for a framework, streams."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import tomllib
import types
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore, Rollguard, Settings, ToolRegistry, tool
from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.model.in_flight import CallInFlight
from rollguard.record import Recorder, Spool
from rollguard.store.schema import calls_in_flight
from tests.registry.helpers import executions


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExecutionStore]:
    """How a call ends is the same for every database."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as opened:
        yield opened


class Clock:
    """The clock of durations, which a test sets ahead."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(store: ExecutionStore, tmp_path: Path, clock: Clock) -> Recorder:
    return Recorder(store, Spool(tmp_path / "spool.jsonl"), clock=clock)


def kinds(store: ExecutionStore) -> list[tuple[bool, str | None]]:
    return [(row["success"], row["error_type"]) for row in executions(store)]


def hanging(recorder: Recorder, **options: Any) -> Callable[[], Any]:
    """Return a tool that never ends."""

    @tool(recorder=recorder, **options)
    async def hang() -> None:
        await asyncio.Event().wait()

    return hang


# --- given up on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["wait_for", "timeout", "cancel"])
def test_a_caller_that_gives_up(store: ExecutionStore, recorder: Recorder, how: str) -> None:
    """A call that its caller gave up on is recorded as such, however the caller did it, with its duration."""
    hang = hanging(recorder)

    async def give_up() -> None:
        if how == "wait_for":
            await asyncio.wait_for(hang(), 0.001)
        elif how == "timeout":
            async with asyncio.timeout(0.001):
                await hang()
        else:
            task = asyncio.create_task(hang())
            await asyncio.sleep(0)
            task.cancel()
            await task

    with pytest.raises((TimeoutError, asyncio.CancelledError)):
        asyncio.run(give_up())
    (row,) = executions(store)
    assert (row["success"], row["error_type"]) == (False, "CallerGaveUp")
    assert row["duration_ms"] > 0
    assert "its caller gave up after" in row["error"]


@pytest.mark.parametrize("how", ["gather", "group"])
def test_one_parent_counts_once(store: ExecutionStore, recorder: Recorder, how: str) -> None:
    """Calls that one parent cancelled together count once; the others are neither successes nor failures."""
    hang = hanging(recorder)

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(hang())

    async def parent() -> None:
        await asyncio.wait_for(group() if how == "group" else asyncio.gather(hang(), hang(), hang()), 0.001)

    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(parent())
    assert sorted(kind or "" for _success, kind in kinds(store)) == ["CallWithdrawn"] * 4 + ["CallerGaveUp"] * 2


def test_parents_of_their_own_count_each(store: ExecutionStore, recorder: Recorder) -> None:
    """Callers that run side by side and give up on their own count each."""
    hang = hanging(recorder)

    async def caller() -> None:
        async with asyncio.timeout(0.001):
            await hang()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(caller() for _ in range(3)), return_exceptions=True)

    asyncio.run(all_of_them())
    assert kinds(store) == [(False, "CallerGaveUp")] * 3


def test_an_ending_event_loop(store: ExecutionStore, recorder: Recorder) -> None:
    """What is cancelled because its event loop ends is not recorded, nor is what a Ctrl-C cancels."""
    hang = hanging(recorder)

    async def leaves_one_behind() -> None:
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        assert not task.done()

    async def interrupted() -> None:
        asyncio.get_running_loop().call_soon(lambda: __import__("signal").raise_signal(2))
        await hang()

    asyncio.run(leaves_one_behind())
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupted())
    assert kinds(store) == []
    assert recorder.calls_in_flight() == []


def test_a_cancellation_inside_the_tool(store: ExecutionStore, recorder: Recorder) -> None:
    """A tool that something inside it cancelled has failed: its caller did not give up."""

    @tool(recorder=recorder)
    async def lends_a_future() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(lends_a_future())
    assert kinds(store) == [(False, "CancelledError")]


# --- a limit ---------------------------------------------------------------------------------------------------------


def test_a_call_that_outlives_its_limit(store: ExecutionStore, recorder: Recorder) -> None:
    """A call that took longer than `timeout_seconds` is a failure although it returned; its own error stays its own."""

    @tool(recorder=recorder, timeout_seconds=1e-9)
    def late(error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return "late"

    assert late() == "late"
    with pytest.raises(ValueError, match="no"):
        late(ValueError("no"))
    assert kinds(store) == [(False, "CallTimedOut"), (False, "ValueError")]
    assert "timeout_seconds is 1e-09" in executions(store)[0]["error"]


@pytest.mark.parametrize(("limit", "kind"), [(1e-9, "CallTimedOut"), (60, "CallWithdrawn")])
def test_given_up_with_a_limit(store: ExecutionStore, recorder: Recorder, limit: float, kind: str) -> None:
    """With a limit, a call that was given up on failed if it ran longer; else it is neither success nor failure."""
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(hanging(recorder, timeout_seconds=limit)(), 0.001))
    assert kinds(store) == [(False, kind)]


def test_a_call_that_never_ends(store: ExecutionStore, recorder: Recorder, clock: Clock) -> None:
    """A call that still runs after its limit is recorded as a failure, once: its end is not recorded again."""
    begun, go_on = threading.Event(), threading.Event()

    @tool(recorder=recorder, timeout_seconds=1000)
    def wait() -> str:
        begun.set()
        go_on.wait(60)
        return "at last"

    caller = threading.Thread(target=wait)
    caller.start()
    assert begun.wait(60)
    (running,) = recorder.calls_in_flight()
    assert (running.tool_name, running.version_number) == ("wait", None)
    clock.ahead = 500
    recorder.check_in_flight()
    assert kinds(store) == []
    clock.ahead = 1001
    recorder.check_in_flight()
    recorder.check_in_flight()
    assert kinds(store) == [(False, "CallTimedOut")]
    assert [call.tool_name for call in store.in_flight.all()] == ["wait"]
    go_on.set()
    caller.join()
    assert kinds(store) == [(False, "CallTimedOut")]
    recorder.check_in_flight()
    assert recorder.calls_in_flight() == store.in_flight.all() == []


def test_a_process_that_ends(store: ExecutionStore, recorder: Recorder, clock: Clock) -> None:
    """A process that ends well takes its calls off the list; those of processes that did not go after a day."""
    hang = hanging(recorder)

    async def end() -> None:
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        clock.ahead = 10
        recorder.check_in_flight()
        assert [call.lost for call in store.in_flight.all()] == [False]
        recorder.finish()
        assert store.in_flight.all() == []
        task.cancel()

    asyncio.run(end())
    gone = [CallInFlight("my_tool", 1, datetime.now(UTC))]
    store.in_flight.publish("gone", gone)
    for minutes, shown in ((4, [True]), (25 * 60, [])):
        seen = datetime.now(UTC) - timedelta(minutes=minutes)
        with store.database.write() as connection:
            connection.execute(sa.update(calls_in_flight).values(seen_at=seen))
        assert [call.lost for call in store.in_flight.all()] == shown
    store.in_flight.publish("other", [])
    with store.database.read() as connection:
        assert connection.execute(sa.select(calls_in_flight)).all() == []


def test_the_recorders_own_thread_looks(store: ExecutionStore, recorder: Recorder) -> None:
    """The recorder finds a call that never ends by itself, although nothing else is recorded."""
    found = threading.Event()
    note = recorder.note
    recorder.note = lambda noted: (note(noted), found.set())[0]  # type: ignore[method-assign]
    go_on = threading.Event()

    @tool(recorder=recorder, timeout_seconds=0.01)
    def wait() -> None:
        go_on.wait(60)

    caller = threading.Thread(target=wait)
    caller.start()
    assert found.wait(60)
    assert kinds(store) == [(False, "CallTimedOut")]
    go_on.set()
    caller.join()


@pytest.mark.parametrize("wrong", ["0", "-1", "true", '"5"', "1e9"])
def test_a_limit_that_is_none(tmp_path: Path, wrong: str) -> None:
    """A limit that is no number of seconds is refused, at `@tool` and in the settings."""
    with pytest.raises(InvalidInput, match="timeout_seconds"):
        tool(timeout_seconds=tomllib.loads(f"a = {wrong}")["a"])
    file = tmp_path / "rollguard.toml"
    file.write_text(f"[tools.my_tool]\ntimeout_seconds = {wrong}\n")
    with pytest.raises(InvalidSetting, match=r"tools\.my_tool\.timeout_seconds"):
        Settings.load(file, {})


def test_where_a_limit_is_set(tmp_path: Path) -> None:
    """`[tools.NAME] timeout_seconds` limits a tool of the folder and a function, and is above what `@tool` says."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/a.py").write_text("from rollguard import tool\n@tool(timeout_seconds=50)\ndef a(): ...\n")
    (tmp_path / "tools/b.py").write_text("def b(): ...\n")
    (tmp_path / "rollguard.toml").write_text("[tools.b]\ntimeout_seconds = 1e-9\n[tools.c]\ntimeout_seconds = 1e-9\n")
    with Rollguard.from_settings(tmp_path / "rollguard.toml", {}) as guard:
        guard.registry.call("a")
        guard.registry.call("b")

        @guard.tool(timeout_seconds=50)
        def c() -> None: ...

        c()
        rows = {row["tool_name"]: row["error_type"] for row in executions(guard.store)}
    assert rows == {"a": None, "b": "CallTimedOut", "c": "CallTimedOut"}


# --- frameworks ------------------------------------------------------------------------------------------------------


def test_control_flow(store: ExecutionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception by which a tool steers its framework is recorded as neither; no framework is imported for it."""
    module = types.ModuleType("a_framework.errors")

    class Pause(Exception): ...

    class Approval(Pause): ...

    module.Pause = Pause  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_framework.errors", module)
    names = ["a_framework.errors.Pause", "a_framework.errors.Missing", "not_installed.Stop"]
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), control_flow=names)

    @tool(recorder=recorder)
    def ask(error: Exception) -> None:
        raise error

    for error in (Approval("may I?"), ValueError("no")):
        with pytest.raises(type(error)):
            ask(error)
    assert kinds(store) == [(False, "ControlFlow"), (False, "ValueError")]
    assert executions(store)[0]["error"] == "Approval: may I?"
    assert "not_installed" not in sys.modules
    with pytest.raises(InvalidInput, match="import paths"):
        Recorder(store, Spool(tmp_path / "spool.jsonl"), control_flow="langgraph")


# --- streams ---------------------------------------------------------------------------------------------------------


def streams(recorder: Recorder) -> dict[str, Callable[[int], Any]]:
    """Return tools that stream numbers and fail at the given one: a generator, an async one, another iterator."""

    @tool(recorder=recorder)
    def plain(bad: int) -> Iterator[int]:
        for number in range(3):
            yield number if number != bad else 1 // 0

    @tool(recorder=recorder)
    async def later(bad: int) -> AsyncIterator[int]:
        for number in range(3):
            yield number if number != bad else 1 // 0

    class Numbers:
        name = "numbers"

        def __init__(self, bad: int) -> None:
            self._next, self._bad = 0, bad

        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            self._next += 1
            if self._next > 3:
                raise StopAsyncIteration
            return self._next - 1 if self._next - 1 != self._bad else 1 // 0

    @tool(recorder=recorder)
    async def other(bad: int) -> Numbers:
        return Numbers(bad)

    return {"plain": plain, "later": later, "other": other}


async def read(stream: Any, most: int = 9) -> list[int]:
    found = []
    if isinstance(stream, Iterator):
        for number in stream:
            found.append(number)
            if len(found) == most:
                stream.close()
                break
        return found
    async for number in await stream if asyncio.iscoroutine(stream) else stream:
        found.append(number)
        if len(found) == most:
            if hasattr(stream, "aclose"):
                await stream.aclose()
            break
    return found


@pytest.mark.parametrize("kind", ["plain", "later", "other"])
def test_streams(store: ExecutionStore, recorder: Recorder, kind: str) -> None:
    """A stream is recorded when it ends: whole, ended early by its reader (both a success), or with its failure."""
    stream = streams(recorder)[kind]
    assert asyncio.run(read(stream(9))) == [0, 1, 2]
    assert asyncio.run(read(stream(9), most=2)) == [0, 1]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(read(stream(1)))
    gc.collect()
    assert kinds(store) == [(True, None), (True, None), (False, "ZeroDivisionError")]
    assert recorder.calls_in_flight() == []


def test_a_stream_is_what_it_was(recorder: Recorder) -> None:
    """A stream keeps its class, its attributes and what is sent into it; until it ends, its call is in flight."""
    echoed: list[Any] = []

    @tool(recorder=recorder)
    def echo() -> Iterator[Any]:
        while True:
            echoed.append((yield len(echoed)))

    stream: Any = echo()
    assert isinstance(stream, types.GeneratorType)
    assert (next(stream), stream.send("a")) == (0, 1)
    assert echoed == ["a"]
    assert [call.tool_name for call in recorder.calls_in_flight()] == ["echo"]
    stream.close()
    assert recorder.calls_in_flight() == []
    other: Any = asyncio.run(streams(recorder)["other"](9))
    assert (other.name, type(other).__name__ != "Numbers", other.__class__.__name__) == ("numbers", True, "Numbers")


async def test_a_stream_of_the_registry(store: ExecutionStore, tools_dir: Path) -> None:
    """Tools of the folder stream too, called from plain or from async code."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", "def my_tool():\n    yield 1\n    raise ValueError('middle')\n")
    for stream in (registry.call("my_tool"), await registry.acall("my_tool")):
        with pytest.raises(ValueError, match="middle"):
            list(stream)
    assert kinds(store) == [(False, "ValueError")] * 2
