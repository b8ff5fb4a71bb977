"""A swapped file is served from the next call on, an edited one from the next check on, however little it shows."""

from __future__ import annotations

import asyncio
import compileall
import os
import threading
from pathlib import Path

import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import ToolLoadError, UnknownTool
from rollguard.registry import Folder
from rollguard.registry.folder.folder import FileStamp
from rollguard.registry.serve.live_tools import LiveTools
from tests.conftest import code
from tests.processes import finished, python
from tests.registry.helpers import checked_before, executions


def returning(number: int) -> str:
    """Versions of the same size."""
    return f"def my_tool():\n    return {number:06d}\n".replace(" 0", " 1")


def test_many_swaps_within_a_second(registry: ToolRegistry) -> None:
    """Restores of code of the same size within the same second each run the new source."""
    versions = [registry.deploy("my_tool", returning(n)) for n in range(3)]
    results = {number: 100_000 + n for n, number in enumerate(versions)}
    for turn in range(40):
        number = versions[turn * 2 % 3]
        registry.restore("my_tool", number)
        assert registry.call("my_tool") == results[number]


WATCHER = """
import sys
from rollguard import ExecutionStore, ToolRegistry
now = 0.0
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1]), clock=lambda: now)
print("ready", flush=True)
for line in sys.stdin:
    now += 0.05
    print(registry.call("my_tool"), flush=True)
"""


def test_another_process_sees_every_swap(tmp_path: Path, tools_dir: Path) -> None:
    """A process that calls the tool 50 ms after each of many swaps by another one never runs a stale version."""
    url = f"sqlite:///{tmp_path}/rollguard.db"
    with ExecutionStore(url):
        folder = Folder(tools_dir)
        checked_before(tools_dir, map(returning, (*range(5), *range(500_000, 500_005))))
        folder.swap("my_tool", returning(0).encode())
        process = python(WATCHER, url, tools_dir)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in range(1, 150):
            # Two swaps between two calls: the second may get the inode that the first has freed.
            folder.swap("my_tool", returning(500_000 + number % 5).encode())
            folder.swap("my_tool", returning(number % 5).encode())
            process.stdin.write("\n")
            process.stdin.flush()
            assert int(process.stdout.readline()) == 100_000 + number % 5
        finished(process)


def test_edits_in_place(registry: ToolRegistry, tools_dir: Path) -> None:
    """Edits in place of the same size are seen at the next call, also those that keep the file's times."""
    path = tools_dir / "my_tool.py"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        checked_before(tools_dir, map(returning, range(5)))
        for number in range(300):
            os.pwrite(descriptor, returning(number % 5).encode(), 0)
            os.utime(path, ns=(10**18, 10**18))
            assert registry.get_tool("my_tool").function() == 100_000 + number % 5
    finally:
        os.close(descriptor)


class CoarseFolder(Folder):
    """As on a file system that tells times in ticks of two seconds, and gives each new file the inode just freed."""

    def stamp(self, name: str) -> FileStamp | None:
        real, tick = super().stamp(name), 2_000_000_000
        if real is None:
            return None
        return FileStamp(1, real.size, real.modified_ns // tick * tick, real.changed_ns // tick * tick)


def test_coarse_file_systems(store: ExecutionStore, tools_dir: Path) -> None:
    """A swap that the file's stamp does not show is seen all the same at the next call."""
    folder = CoarseFolder(tools_dir)
    serving = LiveTools(folder, store)
    checked_before(tools_dir, map(returning, range(5)))
    for number in range(300):
        folder.swap("my_tool", returning(number % 5).encode())
        assert serving.current("my_tool").loaded().function() == 100_000 + number % 5


def test_bytecode_is_not_read(registry: ToolRegistry, tools_dir: Path) -> None:
    """Bytecode beside the tools is neither read nor written, and a swap removes that of the tool."""
    path = tools_dir / "my_tool.py"
    path.write_text(returning(1))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    compileall.compile_file(path, quiet=2)
    (compiled,) = (tools_dir / "__pycache__").iterdir()
    path.write_text(returning(2))
    os.utime(path, (1_000_000_000, 1_000_000_000))  # Python's own import would trust the bytecode now
    assert registry.call("my_tool") == 100_002
    assert list((tools_dir / "__pycache__").iterdir()) == [compiled]
    registry.deploy("my_tool", returning(3))
    assert registry.call("my_tool") == 100_003
    assert list((tools_dir / "__pycache__").iterdir()) == []


def test_unchanged_tools_are_loaded_once(registry: ToolRegistry, tools_dir: Path) -> None:
    """A file that is only touched keeps its module, so that what a tool remembers stays."""
    (tools_dir / "my_tool.py").write_text("CALLS = []\ndef my_tool():\n    CALLS.append(1)\n    return len(CALLS)\n")
    counts = []
    for _ in range(3):
        counts.append(registry.call("my_tool"))
        (tools_dir / "my_tool.py").touch()
        registry.refresh()
    assert counts == [1, 2, 3]


def test_deleted_tool(store: ExecutionStore, tools_dir: Path) -> None:
    """A tool whose file is gone is unknown from the next look on, and back at the next call when it is restored."""
    registry = ToolRegistry(tools_dir, store=store, check_every=0)
    registry.deploy("my_tool", code(1))
    assert registry.call("my_tool") == 1
    (tools_dir / "my_tool.py").unlink()
    with pytest.raises(UnknownTool):
        registry.call("my_tool")
    assert registry.get_all_tools() == {}
    registry.restore("my_tool", 1)
    assert registry.call("my_tool") == 1
    assert [row["version_number"] for row in executions(store)] == [1, 1]


def test_broken_and_mended_by_hand(store: ExecutionStore, tools_dir: Path) -> None:
    """Where an edit breaks a file, the last version that loaded goes on serving, and the mended one after it."""
    registry = ToolRegistry(tools_dir, store=store, check_every=0)
    path = tools_dir / "my_tool.py"
    path.write_text(code(1))
    assert registry.call("my_tool") == 1
    for broken in ("def my_tool(:\n", "1 / 0\ndef my_tool(): ...\n"):
        path.write_text(broken)
        with pytest.raises(ToolLoadError):
            registry.get_tool("my_tool")
        assert registry.call("my_tool") == 1
        assert list(registry.problems) == ["my_tool"]
    path.write_text(code(2))
    assert registry.get_tool("my_tool").function() == 2
    assert registry.call("my_tool") == 2
    assert registry.problems == {}


WAITS = (
    "import threading\nSTARTED, GO = threading.Event(), threading.Event()\n"
    "def helper():\n    return {0}\n"
    "def my_tool():\n    STARTED.set()\n    assert GO.wait(300)\n    return helper()\n"
)


def test_a_call_in_flight_finishes_on_its_version(registry: ToolRegistry, store: ExecutionStore) -> None:
    """A call that began before a swap finishes on the version it began with, and is recorded under it."""
    registry.deploy("my_tool", WAITS.format(1))
    module = registry.get_tool("my_tool").module
    results = []
    caller = threading.Thread(target=lambda: results.append(registry.call("my_tool")))
    caller.start()
    assert vars(module)["STARTED"].wait(300)
    registry.deploy("my_tool", "def my_tool():\n    return 2\n")
    assert registry.call("my_tool") == 2
    vars(module)["GO"].set()
    caller.join()
    assert results == [1]
    assert [(row["result"], row["version_number"]) for row in executions(store)] == [(2, 2), (1, 1)]


async def test_an_async_call_in_flight(registry: ToolRegistry, store: ExecutionStore) -> None:
    """The same holds for async calls, and classes of the old version can still be pickled."""
    head = "import asyncio, pickle\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    await asyncio.to_thread(
        registry.deploy,
        "my_tool",
        f"{head}STARTED, GO = asyncio.Event(), asyncio.Event()\n"
        "async def my_tool():\n    STARTED.set()\n    await GO.wait()\n    return pickle.loads(pickle.dumps(P(1))).x\n",
    )
    module = (await asyncio.to_thread(registry.get_tool, "my_tool")).module
    task = asyncio.create_task(registry.acall("my_tool"))
    started, go = vars(module)["STARTED"], vars(module)["GO"]
    del module
    await started.wait()
    await asyncio.to_thread(registry.deploy, "my_tool", "def my_tool():\n    return 2\n")
    assert await registry.acall("my_tool") == 2
    go.set()
    assert await task == 1
    assert [(row["result"], row["version_number"]) for row in executions(store)] == [(2, 2), (1, 1)]
