"""A call that ends its process is found afterwards, and counts as a failure of its version, once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.record import call_marks
from rollguard.record.call_marks import CallMarks
from tests.registry.helpers import executions

KILLS = "import os\ndef my_tool(how):\n    exec(how)\n"
ASYNC = "import os\nasync def my_tool(how):\n    exec(how)\n"


@pytest.fixture
def store(tmp_path: Path):
    """What is on the disk is the same for every database."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as opened:
        yield opened


def ended_in_a_call(registry: ToolRegistry, how: str) -> int:
    """Call the tool in a forked child, which it ends; return the child's status."""
    pid = os.fork()
    if pid == 0:
        try:
            registry.call("my_tool", how=how)
        finally:
            os._exit(7)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("code", [KILLS, ASYNC], ids=["plain", "async"])
@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_call_that_ends_its_process(store: ExecutionStore, tools_dir: Path, code: str, how: str) -> None:
    """It is recorded as a failed execution of its version by the next process that opens the folder, and only once."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", code)
    before = datetime.now(UTC)
    assert ended_in_a_call(registry, how) in (0, signal.SIGKILL)
    ToolRegistry(tools_dir, store=store)
    ToolRegistry(tools_dir, store=store)
    (row,) = executions(store)
    assert (row["tool_name"], row["success"], row["version_number"]) == ("my_tool", False, 1)
    assert (row["error_type"], row["duration_ms"]) == ("ProcessEnded", None)
    assert "ended during it" in row["error"]
    assert before <= row["executed_at"] <= datetime.now(UTC)
    assert list((tools_dir / ".rollguard/calls").iterdir()) == []


def test_found_twice_at_the_same_moment(store: ExecutionStore, tools_dir: Path) -> None:
    """A finder that dies before it has removed the file makes the next one record the same execution again: as one."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", KILLS)
    ended_in_a_call(registry, "os._exit(0)")
    (file,) = (tools_dir / ".rollguard/calls").iterdir()
    content = file.read_bytes()
    assert registry.collect_ended_calls() == 1
    file.write_bytes(content)
    assert registry.collect_ended_calls() == 1
    assert len(executions(store)) == 1


def test_calls_that_end_mark_nothing(store: ExecutionStore, tools_dir: Path) -> None:
    """A call that returns, raises, is interrupted or is refused leaves no mark; nor does a process that ends well."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", "def my_tool(how):\n    raise KeyboardInterrupt if how else ValueError\n")
    registry.deploy("async_one", "async def async_one():\n    return 1\n")
    for how, error in ((0, ValueError), (1, KeyboardInterrupt)):
        with pytest.raises(error):
            registry.call("my_tool", how=how)
    assert registry.call("async_one") == 1

    async def refused() -> None:
        with pytest.raises(RuntimeError):
            registry.call("async_one")
        assert await registry.acall("async_one") == 1

    asyncio.run(refused())
    (file,) = (tools_dir / ".rollguard/calls").iterdir()
    assert len(list(call_marks._calls_in(file.name, file.read_bytes()))) == 0
    registry.close()
    assert not file.exists()


def test_a_living_process_is_left_alone(store: ExecutionStore, tools_dir: Path) -> None:
    """Calls in flight of a process that lives are not recorded, and each thread's call has its own mark."""
    registry = ToolRegistry(tools_dir, store=store)
    code = "import threading\nGO, IN = threading.Event(), threading.Semaphore(0)\n"
    registry.deploy("my_tool", f"{code}def my_tool():\n    IN.release()\n    GO.wait(300)\n")
    tool = vars(registry.get_tool("my_tool").module)
    callers = [threading.Thread(target=registry.call, args=("my_tool",)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for _ in callers:
        assert tool["IN"].acquire(timeout=300)
    (file,) = (tools_dir / ".rollguard/calls").iterdir()
    assert len(list(call_marks._calls_in(file.name, file.read_bytes()))) == 3
    assert registry.collect_ended_calls() == 0
    tool["GO"].set()
    for caller in callers:
        caller.join()
    assert list(call_marks._calls_in(file.name, file.read_bytes())) == []


def test_quick_tools_are_marked_at_first_only(store: ExecutionStore, tools_dir: Path) -> None:
    """After 1,000 calls a tool that takes no time is called as it is; a slow one stays marked."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("quick", "def quick(): ...\n")
    served = registry._live_tools.serve("quick")
    marked = served.subject
    for _ in range(999):
        registry.call("quick")
    assert served.subject is marked
    registry.call("quick")
    assert served.subject.invoke is served.tool.invoke
    now = iter(range(10**6))
    marks, retired = CallMarks(tools_dir / ".rollguard" / "other"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.perf_counter", lambda: next(now) / 500)
        slow = marks.marked("slow", lambda: None, lambda: 1, lambda: retired.append(1), is_async=False)
        for _ in range(1_001):
            slow()
    assert retired == []


def test_files_of_no_process(store: ExecutionStore, tools_dir: Path) -> None:
    """Damaged files, pipes, folders and files from before a restart of the machine record nothing and stop nobody."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", KILLS)
    ended_in_a_call(registry, "os._exit(0)")
    calls = tools_dir / ".rollguard/calls"
    (real,) = calls.iterdir()
    (calls / "0.marks").mkdir()
    os.mkfifo(calls / "1.marks")
    (calls / "2.marks").symlink_to("/dev/zero")
    (calls / "3.marks").write_bytes(b"\0\xff[[[[" * 1000)
    header = json.dumps({"boot": call_marks._boot()}).encode().ljust(2048, b"\0")
    (calls / "4.marks").write_bytes(header + b"[1e400, 5, {}, []]\n")
    (calls / "5.marks").write_bytes(real.read_bytes().replace(call_marks._boot().encode() or b'""', b"another", 1))
    assert registry.collect_ended_calls() == 1
    assert [row["version_number"] for row in executions(store)] == [1]


def test_a_tool_that_closes_descriptors(store: ExecutionStore, tools_dir: Path) -> None:
    """A mark is never written into a file of somebody else that got the same descriptor."""
    registry = ToolRegistry(tools_dir, store=store, flush_interval=60)  # nothing else opens a file meanwhile
    registry.deploy("my_tool", "def my_tool(): ...\n")
    registry.call("my_tool")
    descriptor = registry._marks._file.descriptor
    os.close(descriptor)
    other = os.open(tools_dir / "other", os.O_RDWR | os.O_CREAT)
    assert other == descriptor
    registry.call("my_tool")
    registry.close()
    assert os.fstat(other).st_size == 0
    os.close(other)


def test_a_folder_that_cannot_be_written(store: ExecutionStore, tools_dir: Path) -> None:
    """Where no marks can be written, calls go on without."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", "def my_tool():\n    return 1\n")
    (tools_dir / ".rollguard" / "calls").write_text("in its place")
    assert registry.call("my_tool") == 1
    assert registry.collect_ended_calls() == 0


def test_a_call_that_is_recorded_before_its_process_ends(store: ExecutionStore, tools_dir: Path) -> None:
    """A call that outlived its limit, and then ends its process, is one failure and not two."""
    registry = ToolRegistry(tools_dir, store=store, timeouts={"my_tool": 5})
    registry.deploy("my_tool", KILLS)
    pid = os.fork()
    if pid == 0:
        begun = threading.Event()
        sys.modules["begun_here"] = begun  # type: ignore[assignment]
        how = "import sys, threading; sys.modules['begun_here'].set(); threading.Event().wait()"
        threading.Thread(target=registry.call, args=("my_tool",), kwargs={"how": how}, daemon=True).start()
        begun.wait()
        clock = registry.recorder._clock
        registry.recorder._clock = lambda: clock() + 6
        registry.recorder.check_in_flight()
        registry.recorder.flush()
        os._exit(7)
    assert os.waitpid(pid, 0)[1]
    ToolRegistry(tools_dir, store=store)
    assert [row["error_type"] for row in executions(store)] == ["CallTimedOut"]
