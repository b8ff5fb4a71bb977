"""A swap is served at the next call of the process that made it, and within 50 ms by every other one of the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput, ToolFileError, UnknownTool
from rollguard.registry import Folder
from rollguard.registry.folder.folder import FileStamp
from rollguard.registry.serve.live_tools import LiveTools
from tests.conftest import NOW, code
from tests.processes import finished, python
from tests.registry.helpers import checked_before, checks_are_over

BOUND = 0.05


class Clock:
    """Turned by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingFolder(Folder):
    """Counts the checks of files."""

    checks = 0

    def stamp(self, name: str) -> FileStamp | None:
        self.checks += 1
        return super().stamp(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tools_dir: Path) -> CountingFolder:
    folder = CountingFolder(tools_dir)
    folder.swap("my_tool", code(1).encode())
    return folder


@pytest.fixture
def serving(store: ExecutionStore, folder: CountingFolder, clock: Clock) -> LiveTools:
    """Serves version 1, and has just checked its file."""
    store.versions.add("my_tool", code(1).encode(), kind="initial", created_by="human", reason=None, now=NOW)
    checked_before(folder.path, map(code, (1, 2)))
    serving = LiveTools(folder, store, check_every=BOUND, clock=clock)
    assert result(serving) == 1
    return serving


def result(serving: LiveTools) -> int:
    return int(serving.serve("my_tool").loaded().function())


def test_calls_between_two_checks_cost_none(serving: LiveTools, folder: CountingFolder, clock: Clock) -> None:
    """Calls check the file once in 50 ms, and once more where this process swapped it."""
    before = folder.checks
    clock.now += BOUND - 1e-6
    assert [result(serving) for _ in range(50)] == [1] * 50
    assert folder.checks == before
    clock.now += 1e-6
    assert [result(serving) for _ in range(50)] == [1] * 50
    assert folder.checks > before
    before = folder.checks
    Folder(folder.path).swap("my_tool", code(2).encode())
    assert [result(serving) for _ in range(50)] == [2] * 50
    assert 0 < folder.checks - before <= 4


def test_each_call_checks_if_asked(store: ExecutionStore, folder: CountingFolder, clock: Clock) -> None:
    """`check_every=0` checks the file at each call."""
    checked_before(folder.path, map(code, range(1, 20)))
    serving = LiveTools(folder, store, check_every=0, clock=clock)
    for number in range(2, 20):
        folder.file("my_tool").write_text(code(number))
        assert result(serving) == number


def test_an_edit_by_hand(store: ExecutionStore, tools_dir: Path, clock: Clock) -> None:
    """An edit by hand is seen within 50 ms, or at `refresh`, and served when it loaded in a child process."""
    registry = ToolRegistry(tools_dir, store=store, clock=clock)
    registry.deploy("my_tool", code(1))
    assert registry.call("my_tool") == 1
    (tools_dir / "my_tool.py").write_text(code(7))
    clock.now += BOUND
    assert registry.call("my_tool") == 1  # nobody waits
    checks_are_over()
    clock.now += BOUND
    assert registry.call("my_tool") == 7
    (tools_dir / "my_tool.py").write_text(code(8))
    registry.refresh()
    checks_are_over()
    assert registry.call("my_tool") == 8


def test_registries_of_one_process(store: ExecutionStore, tools_dir: Path, clock: Clock) -> None:
    """What one registry deploys or restores, every other one of the process serves at its next call."""
    registries = [ToolRegistry(tools_dir, store=store, check_every=math.inf, clock=clock) for _ in range(3)]
    for number in range(1, 10):
        registries[number % 3].deploy("my_tool", code(number))
        assert [registry.call("my_tool") for registry in registries] == [number] * 3
    registries[0].restore("my_tool", 4)
    assert [registry.call("my_tool") for registry in registries] == [4] * 3


RESTORE = """
import sys
from rollguard import ExecutionStore, ToolRegistry
ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1])).restore("my_tool", 1)
"""


def test_another_process_restores(store: ExecutionStore, url: str, tools_dir: Path, clock: Clock) -> None:
    """A version that another process restored is served when 50 ms have passed."""
    registry = ToolRegistry(tools_dir, store=store, clock=clock, follow=False)
    registry.deploy("my_tool", code(1))
    registry.deploy("my_tool", code(2))
    assert registry.call("my_tool") == 2
    finished(python(RESTORE, url, tools_dir))
    clock.now += BOUND
    assert registry.call("my_tool") == 1


FORKED = """
import os, sys
from rollguard import ExecutionStore, ToolRegistry
now = 0.0
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1]), clock=lambda: now)
assert registry.call("my_tool") == 1
there, back = os.pipe(), os.pipe()
if os.fork() == 0:
    for _ in range(2):
        os.read(there[0], 1)
        now += 0.05
        os.write(back[1], b"%d" % registry.call("my_tool"))
    os._exit(0)
seen = []
for number in (2, 3):
    registry.folder.swap("my_tool", f"def my_tool(x=0):\\n    return {number}\\n".encode())
    os.write(there[1], b"!")
    seen.append(os.read(back[0], 1))
os.wait()
print(seen)
"""


def test_a_forked_child(tmp_path: Path, tools_dir: Path) -> None:
    """A forked child serves what its parent swaps when 50 ms have passed."""
    url = f"sqlite:///{tmp_path}/rollguard.db"
    with ExecutionStore(url) as store:
        ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    checked_before(tools_dir, [f"def my_tool(x=0):\n    return {number}\n" for number in (2, 3)])
    assert finished(python(FORKED, url, tools_dir)).strip() == "[b'2', b'3']"


def test_a_replaced_folder(serving: LiveTools, folder: CountingFolder, clock: Clock) -> None:
    """A folder that was replaced by another one is served within 50 ms, and one that is gone holds no tool."""
    other = folder.path.parent / "other"
    Folder(other).swap("my_tool", code(2).encode())
    checked_before(other, [code(2)])
    assert result(serving) == 1
    folder.path.rename(folder.path.parent / "before")
    other.rename(folder.path)
    clock.now += BOUND
    assert result(serving) == 2
    folder.path.rename(other)
    clock.now += BOUND
    with pytest.raises(ToolFileError):
        serving.serve("my_tool")


def test_a_deleted_file(serving: LiveTools, folder: CountingFolder, clock: Clock) -> None:
    """A file that was deleted is no tool within 50 ms, and at the next call where this process removed it."""
    folder.file("my_tool").unlink()
    clock.now += BOUND
    with pytest.raises(UnknownTool):
        serving.serve("my_tool")
    folder.swap("my_tool", code(2).encode())
    assert result(serving) == 2
    folder.remove("my_tool")
    with pytest.raises(UnknownTool):
        serving.serve("my_tool")


def test_a_folder_that_cannot_be_written(serving: LiveTools, folder: CountingFolder, clock: Clock) -> None:
    """Where this process may not write the folder it serves what others do there all the same, and writes nothing."""
    edited = folder.file("my_tool")
    edited.write_text(code(2))
    folder.path.chmod(0o555)
    try:
        clock.now += BOUND
        assert result(serving) == 2
        assert sorted(path.name for path in folder.path.iterdir()) == [".rollguard", edited.name]
    finally:
        folder.path.chmod(0o755)


@pytest.mark.parametrize("what", ["empty", "number", "link", "pipe"])
def test_what_earlier_versions_left(store: ExecutionStore, tools_dir: Path, what: str) -> None:
    """The file by which earlier versions announced a swap is no tool, holds nobody up and is removed at the start."""
    left = tools_dir / ".rollguard.generation"
    if what == "link":
        left.symlink_to(tools_dir / "elsewhere")
    elif what == "pipe":
        os.mkfifo(left)
    else:
        left.write_bytes(b"" if what == "empty" else b"12345678")
    registry = ToolRegistry(tools_dir, store=store)
    assert registry.problems == {}
    assert not os.path.lexists(left)
    registry.deploy("my_tool", code(1))
    assert registry.call("my_tool") == 1


@pytest.mark.parametrize("wrong", [-1, math.nan, "1", None, True])
def test_check_every_is_a_number_of_seconds(store: ExecutionStore, tools_dir: Path, wrong: object) -> None:
    """What is no number of seconds is refused."""
    with pytest.raises(InvalidInput, match="check_every"):
        ToolRegistry(tools_dir, store=store, check_every=wrong)  # type: ignore[arg-type]
