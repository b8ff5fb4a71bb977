"""A swap is announced through a file that every process has mapped; where it cannot be, each call looks itself."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput
from rollguard.registry import Folder
from rollguard.registry.folder.folder import FileStamp
from rollguard.registry.folder.swap_signal import NAME, Generation, announce_swap
from rollguard.registry.serve.live_tools import Serving
from tests.conftest import code
from tests.registry.helpers import finished, python

HOUR = 3600.0


class CountingFolder(Folder):
    """Counts the looks at files."""

    looks = 0

    def stamp(self, name: str) -> FileStamp | None:
        self.looks += 1
        return super().stamp(name)


@pytest.fixture
def folder(tools_dir: Path) -> CountingFolder:
    folder = CountingFolder(tools_dir)
    folder.swap("my_tool", code(1).encode())
    return folder


def result(serving: Serving) -> int:
    return int(serving.serve("my_tool").loaded().function())


def test_no_look_without_news(store: ExecutionStore, folder: CountingFolder) -> None:
    """While nothing is announced, calls do not look at the file; one swap makes them look once."""
    serving = Serving(folder, store, look_every=HOUR)
    serving.serve("my_tool")
    serving._served["my_tool"].ask_at = serving._served["my_tool"].look_at = math.inf
    before = folder.looks
    assert [result(serving) for _ in range(50)] == [1] * 50
    assert folder.looks == before
    Folder(folder.path).swap("my_tool", code(2).encode())
    assert [result(serving) for _ in range(50)] == [2] * 50
    assert 0 < folder.looks - before <= 4


def test_each_call_looks_where_that_is_asked(store: ExecutionStore, folder: CountingFolder) -> None:
    """`look_every=0` looks at the file at each call, and makes no file of its own."""
    (folder.path / NAME).unlink(missing_ok=True)
    serving = Serving(folder, store, look_every=0)
    for number in range(2, 20):
        folder.file("my_tool").write_text(code(number))
        assert result(serving) == number
    assert not (folder.path / NAME).exists()


def test_an_edit_by_hand_is_seen_at_the_next_look(store: ExecutionStore, tools_dir: Path) -> None:
    """An edit is served from the next look on: after `look_every`, or at once after `refresh`."""
    patient = ToolRegistry(tools_dir, store=store, look_every=HOUR)
    patient.deploy("my_tool", code(1))
    (version,) = patient.store.versions.history("my_tool")
    assert (patient.call("my_tool"), version.version_number) == (1, 1)
    eager = ToolRegistry(tools_dir, store=store, look_every=0.001)
    assert eager.call("my_tool") == 1
    (tools_dir / "my_tool.py").write_text(code(7))
    assert patient.call("my_tool") == 1
    patient.refresh()
    assert patient.call("my_tool") == 7
    deadline = time.monotonic() + 300
    while eager.call("my_tool") != 7:
        assert time.monotonic() < deadline


def test_several_registries_of_one_folder(store: ExecutionStore, tools_dir: Path) -> None:
    """What one registry deploys, restores or removes, another one of the folder sees at its next call."""
    registries = [ToolRegistry(tools_dir, store=store, look_every=HOUR) for _ in range(3)]
    for number in range(1, 10):
        registries[number % 3].deploy("my_tool", code(number))
        assert [registry.call("my_tool") for registry in registries] == [number] * 3
    registries[0].restore("my_tool", 4)
    assert [registry.call("my_tool") for registry in registries] == [4] * 3


FORKED = """
import os, sys
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1]), look_every=3600)
assert registry.call("my_tool") == 1
there, back = os.pipe(), os.pipe()
if os.fork() == 0:
    for _ in range(2):
        os.read(there[0], 1)
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
    """A forked child sees what its parent swaps."""
    url = f"sqlite:///{tmp_path}/rollguard.db"
    with ExecutionStore(url) as store:
        ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    assert finished(python(FORKED, url, tools_dir)).strip() == "[b'2', b'3']"


def test_each_announcement_is_news(tools_dir: Path) -> None:
    """Every swap leaves a number that was not there before, in every mapping."""
    mappings = [Generation(tools_dir) for _ in range(3)]
    seen = {mappings[0].value[0]}
    for number in range(1, 50):
        announce_swap(tools_dir)
        values = {mapping.value[0] for mapping in mappings}
        assert len(values) == 1
        seen |= values
        assert len(seen) == number + 1


def known(generation: Generation) -> bool:
    return generation.value[0] == generation.value[0]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_deleted_or_replaced(tools_dir: Path, *, replaced: bool) -> None:
    """A look maps the file that is there now, and that counts as news."""
    generation = Generation(tools_dir)
    before = generation.value[0]
    (tools_dir / NAME).unlink()
    if replaced:
        (tools_dir / "other").write_bytes(b"12345678")
        (tools_dir / "other").rename(tools_dir / NAME)
    assert generation.value[0] == before  # what is mapped stays there to be read
    generation.look()
    assert known(generation)
    assert generation.value[0] != before
    now = generation.value[0]
    announce_swap(tools_dir)
    assert generation.value[0] != now


@pytest.mark.parametrize("what", ["empty", "short", "folder", "link", "pipe"])
def test_what_cannot_be_mapped_is_not_trusted(store: ExecutionStore, folder: CountingFolder, what: str) -> None:
    """Something else in the file's place makes every call look at its tool's file; nobody waits and nothing breaks."""
    path = folder.path / NAME
    if what in ("empty", "short"):
        path.write_bytes(b"" if what == "empty" else b"1234")
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(folder.path / "elsewhere")
    else:
        os.mkfifo(path)
    generation = Generation(folder.path)
    assert not known(generation)
    serving = Serving(folder, store, look_every=HOUR)
    for number in range(2, 6):
        folder.file("my_tool").write_text(code(number))
        assert result(serving) == number
        folder.swap("my_tool", code(number + 10).encode())
        assert result(serving) == number + 10
    if what in ("empty", "short"):
        generation.look()
        assert known(generation)  # the swap has made it whole
    assert not (folder.path / "elsewhere").exists()


def test_who_writes_the_folder_writes_the_file(tools_dir: Path) -> None:
    """The file may be written by all who may write the folder; one that may not is not trusted."""
    tools_dir.chmod(0o777)
    shared = Generation(tools_dir)
    assert known(shared)
    assert (tools_dir / NAME).stat().st_mode & 0o777 == 0o666
    (tools_dir / NAME).chmod(0o644)
    shared.look()
    assert not known(shared)
    tools_dir.chmod(0o755)
    shared.look()
    assert known(shared)


def test_a_folder_that_is_gone(tools_dir: Path) -> None:
    """Without the folder nothing is announced, and nothing raised."""
    generation = Generation(tools_dir)
    (tools_dir / NAME).unlink()
    tools_dir.rmdir()
    announce_swap(tools_dir)
    generation.look()
    assert not known(generation)
    tools_dir.mkdir()
    generation.look()
    assert known(generation)


def test_the_file_is_no_leftover(store: ExecutionStore, tools_dir: Path) -> None:
    """Tidying up at the start leaves the file alone, and no tool is seen in it."""
    registry = ToolRegistry(tools_dir, store=store)
    inode = (tools_dir / NAME).stat().st_ino
    assert Folder(tools_dir).remove_leftovers() == []
    assert ToolRegistry(tools_dir, store=store).problems == registry.problems == {}
    assert (tools_dir / NAME).stat().st_ino == inode


@pytest.mark.parametrize("wrong", [-1, math.nan, "1", None, True])
def test_look_every_is_a_number_of_seconds(store: ExecutionStore, tools_dir: Path, wrong: object) -> None:
    """What is no number of seconds is refused."""
    with pytest.raises(InvalidInput, match="look_every"):
        ToolRegistry(tools_dir, store=store, look_every=wrong)  # type: ignore[arg-type]
