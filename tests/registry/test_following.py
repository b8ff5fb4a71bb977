"""Two folders on one database, as two machines have them: what goes live on one is served on the other."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import UnknownTool
from rollguard.model.version import Version
from rollguard.registry.deploy.actuators import Request
from rollguard.registry.folder.replica_state import ReplicaState
from tests.conftest import code
from tests.processes import finished, python
from tests.registry.helpers import executions

WITHIN = 300.0  # seconds until a test gives up; a loaded machine takes its time


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, looking again and again."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def following() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "rollguard-following"}


@pytest.fixture
def here(store: ExecutionStore, tools_dir: Path) -> ToolRegistry:
    """The machine that deploys."""
    return ToolRegistry(tools_dir, store)


@pytest.fixture
def other(url: str) -> Iterator[ExecutionStore]:
    """The connections of the other machine."""
    with ExecutionStore(url) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the other machine."""
    made = tmp_path / "there"
    made.mkdir()
    return made


@pytest.fixture
def there(here: ToolRegistry, other: ExecutionStore, folder: Path) -> ToolRegistry:
    """The other machine, which serves version 1 and follows."""
    here.deploy("my_tool", code(1))
    (folder / "my_tool.py").write_text(code(1))
    registry = ToolRegistry(folder, other)
    assert registry.call("my_tool") == 1
    until((folder / ".rollguard" / "followed.json").exists)
    return registry


def live(store: ExecutionStore) -> Version:
    deployment = store.versions.live("my_tool")
    assert deployment is not None
    return store.versions.get("my_tool", deployment.version_number)


SERVE = """
import sys, time
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], ExecutionStore(sys.argv[1]))
print(registry.call("my_tool"), flush=True)
for line in sys.stdin:
    deadline = time.monotonic() + 300
    while (answer := registry.call("my_tool")) != int(line) and time.monotonic() < deadline:
        time.sleep(0.01)
    print(answer, flush=True)
registry.close()
"""


def test_two_machines(store: ExecutionStore, url: str, here: ToolRegistry, folder: Path) -> None:
    """What one process deploys, restores and rolls back in its folder, a process with another folder serves."""
    here.deploy("my_tool", code(1))
    (folder / "my_tool.py").write_text(code(1))
    serving = python(SERVE, url, folder)
    assert serving.stdin is not None
    assert serving.stdout is not None
    assert serving.stdout.readline() == "1\n"

    def serves(number: int) -> None:
        assert serving.stdin is not None
        assert serving.stdout is not None
        serving.stdin.write(f"{number}\n")
        serving.stdin.flush()
        assert serving.stdout.readline() == f"{number}\n"
        assert (folder / "my_tool.py").read_text() == code(number)

    here.deploy("my_tool", code(2))
    serves(2)
    here.restore("my_tool", 1)
    serves(1)
    here.restore("my_tool", 2)
    serves(2)
    monitor = DeploymentMonitor(execution_store=store, tool_registry=here)
    assert monitor.roll_back("my_tool", reason="by hand").to_version == 1
    serves(1)
    finished(serving)
    rows = executions(store)
    assert all(row["success"] and row["version_number"] == row["result"] for row in rows)
    assert {row["version_number"] for row in rows} == {1, 2}


def test_within_a_second(there: ToolRegistry, here: ToolRegistry, folder: Path) -> None:
    """A folder follows within the second: a move wakes it, and where none is notified it asks before that is over."""
    following = there._replica
    assert following is not None
    for number in (2, 3, 4):
        here.deploy("my_tool", code(number))
        until(lambda number=number: (folder / "my_tool.py").read_text() == code(number))  # type: ignore[misc]
        until(lambda number=number: there.call("my_tool") == number)  # type: ignore[misc]
        assert following.pause() < 1.0


def test_a_move_is_told_at_once(here: ToolRegistry, other: ExecutionStore) -> None:
    """Who waits for a move is woken by it, however long it would have waited."""
    here.deploy("my_tool", code(1))
    moves = other.pointers.moves()
    assert moves is not None
    moves.wait(0.0)  # begins to listen
    woken = threading.Event()
    waiting = threading.Thread(target=lambda: moves.wait(3600.0) and woken.set())
    waiting.start()
    try:
        here.deploy("my_tool", code(2))
        assert woken.wait(WITHIN)
    finally:
        moves.interrupt()
        waiting.join()
        moves.close()


def test_calls_in_flight(here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """A call that is under way at the switch finishes on the version it began with, and counts for it."""
    slow = (
        "import threading\nBEGUN, GO = threading.Event(), threading.Event()\n"
        "def my_tool(wait=False):\n"
        "    if wait:\n        BEGUN.set()\n        assert GO.wait(300)\n    return {number}\n"
    )
    here.deploy("my_tool", slow.format(number=1))
    (folder / "my_tool.py").write_text(slow.format(number=1))
    there = ToolRegistry(folder, other)
    module = there.get_tool("my_tool").module
    assert module is not None
    answers: list[int] = []
    call = threading.Thread(target=lambda: answers.append(there.call("my_tool", wait=True)))
    call.start()
    assert module.BEGUN.wait(300)
    until((folder / ".rollguard" / "followed.json").exists)
    here.deploy("my_tool", slow.format(number=2))
    until(lambda: there.call("my_tool") == 2)
    module.GO.set()
    call.join()
    assert answers == [1]
    assert all(row["result"] == row["version_number"] for row in executions(other))


def test_edited_by_hand(there: ToolRegistry, here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """An edit is served until the pointer moves, and is kept as a version before it is written over."""
    (folder / "my_tool.py").write_text(code(70))
    until(lambda: there.call("my_tool") == 70)
    here.deploy("my_tool", code(2))
    until(lambda: there.call("my_tool") == 2)
    (edit,) = [version for version in other.versions.history("my_tool") if version.kind == "edit"]
    assert edit.code.decode() == code(70)


def test_edited_before_it_followed(here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """A file that is no version when a folder first follows may be newer than what is live: it is left alone once."""
    here.deploy("my_tool", code(1))
    (folder / "my_tool.py").write_text(code(70))
    there = ToolRegistry(folder, other)
    assert there.call("my_tool") == 70
    until((folder / ".rollguard" / "followed.json").exists)
    assert there.call("my_tool") == 70
    here.deploy("my_tool", code(2))
    until(lambda: there.call("my_tool") == 2)
    assert "edit" in {version.kind for version in other.versions.history("my_tool")}


def test_while_it_was_away(there: ToolRegistry, here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """What moved while no process served a folder is followed when one does again, over an edit too."""
    there.close()
    here.deploy("my_tool", code(2))
    (folder / "my_tool.py").write_text(code(70))
    assert (folder / "my_tool.py").read_text() == code(70)
    again = ToolRegistry(folder, other)
    again.call("my_tool")
    until(lambda: again.call("my_tool") == 2)


def test_an_old_version_copied_in(there: ToolRegistry, here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """A copy of what the folder held before it followed is not served: what is live is, also after a new start."""
    here.deploy("my_tool", code(2))
    until(lambda: there.call("my_tool") == 2)
    (folder / "my_tool.py").write_text(code(1))
    until(lambda: "holds version 1" in there.problems.get("my_tool", str(there.call("my_tool"))))
    assert there.call("my_tool") == 2
    there.close()
    again = ToolRegistry(folder, other)
    assert again.call("my_tool") == 2
    assert (folder / "my_tool.py").read_text() == code(1)
    again.deploy("my_tool", code(1))
    assert again.call("my_tool") == 1
    until(lambda: here.call("my_tool") == 1)


def test_deleted(there: ToolRegistry, here: ToolRegistry, folder: Path) -> None:
    """A file that was deleted stays so until the pointer moves; then it is written."""
    (folder / "my_tool.py").unlink()

    def gone() -> bool:
        try:
            there.call("my_tool")
        except UnknownTool:
            return True
        return False

    until(gone)
    here.deploy("my_tool", code(2))
    until((folder / "my_tool.py").exists)
    until(lambda: there.call("my_tool") == 2)


def test_tools_of_others(there: ToolRegistry, here: ToolRegistry, folder: Path) -> None:
    """A folder follows the tools it has: one that only the other folder has is not written into it."""
    here.deploy("theirs", code(1, "theirs"))
    here.deploy("my_tool", code(2))
    until(lambda: there.call("my_tool") == 2)
    assert not (folder / "theirs.py").exists()


def test_follow_is_off(here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """With follow=False a folder stays as it is, and there is no thread."""
    here.deploy("my_tool", code(1))
    (folder / "my_tool.py").write_text(code(1))
    before = following()
    there = ToolRegistry(folder, other, follow=False)
    assert there.call("my_tool") == 1
    assert there.behind == {}
    there.close()
    assert following() <= before


class Container:
    """Where a tool lives elsewhere."""

    kind, patience = "container", 5.0

    def put(self, request: Request) -> str:
        return f"runs {request.version.version_number}"


def test_tools_that_live_elsewhere(
    here: ToolRegistry, folder: Path, other: ExecutionStore, store: ExecutionStore
) -> None:
    """A tool that has an actuator is never written, even where a file bears its name."""
    for name in ("boxed", "my_tool"):
        here.deploy(name, code(1, name))
        (folder / f"{name}.py").write_text(code(1, name))
    there = ToolRegistry(folder, other, actuators={"boxed": Container()})
    assert there.call("my_tool") == 1
    here.deploy("boxed", code(2, "boxed"))
    here.deploy("my_tool", code(2))
    until(lambda: there.call("my_tool") == 2)
    assert (folder / "boxed.py").read_text() == code(1, "boxed")


def test_what_cannot_be_written(
    there: ToolRegistry, here: ToolRegistry, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is told once, is in `behind`, and is tried again until it can be; others follow."""
    here.deploy("second", code(1, "second"))
    (folder / "second.py").write_text(code(1, "second"))
    (folder / "my_tool.py").unlink()
    (folder / "my_tool.py").mkdir()  # what even root cannot write over
    with caplog.at_level(logging.ERROR, logger="rollguard.registry.deploy.replica"):
        here.deploy("my_tool", code(2))
        here.deploy("second", code(2, "second"))
        until(lambda: "my_tool" in there.behind)
        until(lambda: (folder / "second.py").read_text() == code(2, "second"))
        here.deploy("second", code(3, "second"))
        until(lambda: (folder / "second.py").read_text() == code(3, "second"))
    assert sum("my_tool: version 2 is live" in record.getMessage() for record in caplog.records) == 1
    assert "is not a file" in there.behind["my_tool"]
    (folder / "my_tool.py").rmdir()
    until((folder / "my_tool.py").is_file)
    until(lambda: there.behind == {})
    until(lambda: there.call("my_tool") == 2)


def test_deployments_made_in_turn_are_not_undone(
    there: ToolRegistry, here: ToolRegistry, folder: Path, other: ExecutionStore
) -> None:
    """Where both machines deploy in turn, an earlier move elsewhere is not written over what was just deployed."""
    here.deploy("my_tool", code(2))
    until(lambda: there.call("my_tool") == 2)
    for number in range(3, 13):
        (here if number % 2 else there).deploy("my_tool", code(number))
        if number % 2:
            until(lambda number=number: (folder / "my_tool.py").read_text() == code(number))  # type: ignore[misc]
        until(lambda number=number: there.call("my_tool") == number)  # type: ignore[misc]
    assert (folder / "my_tool.py").read_bytes() == live(other).code


def test_the_last_move_wins(there: ToolRegistry, here: ToolRegistry, folder: Path, other: ExecutionStore) -> None:
    """However fast the pointer moves, the folder ends where it ended, and holds only what was live."""
    for number in range(2, 22):
        here.deploy("my_tool", code(number))
    until(lambda: (folder / "my_tool.py").read_bytes() == live(other).code)
    until(lambda: there.call("my_tool") == 21)
    assert {version.kind for version in other.versions.history("my_tool")} == {"initial", "improvement"}


def test_several_processes_of_a_machine(store: ExecutionStore, url: str, here: ToolRegistry, folder: Path) -> None:
    """Processes that share the folder all serve what one of them wrote."""
    here.deploy("my_tool", code(1))
    (folder / "my_tool.py").write_text(code(1))
    serving = [python(SERVE, url, folder) for _ in range(3)]
    for process in serving:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
    here.deploy("my_tool", code(2))
    for process in serving:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("2\n")
        process.stdin.flush()
        assert process.stdout.readline() == "2\n"
    for process in serving:
        finished(process)
    assert [version.version_number for version in store.versions.history("my_tool")] == [2, 1]


def test_moves_while_the_database_is_opened_anew(
    there: ToolRegistry, here: ToolRegistry, other: ExecutionStore, folder: Path
) -> None:
    """A store that is closed ends the thread of its registries; the next call follows what moved meanwhile."""
    before = following()
    other.close()
    until(lambda: not following() & before)
    here.deploy("my_tool", code(2))
    there.call("my_tool")
    until(lambda: there.call("my_tool") == 2)


def test_another_database(there: ToolRegistry, here: ToolRegistry, folder: Path, new_url: Callable[[], str]) -> None:
    """What a folder followed in one database means nothing in another."""
    there.close()
    with ExecutionStore(new_url()) as store:
        elsewhere = ToolRegistry(folder.parent / "third", store)
        elsewhere.deploy("my_tool", code(1))
        elsewhere.deploy("my_tool", code(2))
        moved = ToolRegistry(folder, store)
        moved.call("my_tool")
        until(lambda: moved.call("my_tool") == 2)


def test_closing(there: ToolRegistry, here: ToolRegistry, folder: Path) -> None:
    """A closed registry writes nothing and has no thread; its next call follows again."""
    before = following()
    there.call("my_tool")
    assert following() == before  # one is enough
    there.close()
    until(lambda: not following() & before)
    here.deploy("my_tool", code(2))
    assert (folder / "my_tool.py").read_text() == code(1)
    there.call("my_tool")
    until(lambda: there.call("my_tool") == 2)


def test_the_thread_keeps_nothing_alive(store: ExecutionStore, tools_dir: Path) -> None:
    """A registry that nobody uses any more is collected at once, without the cycles' collector, and its thread ends."""
    registry = ToolRegistry(tools_dir, store)
    registry.deploy("my_tool", code(1))
    gc.collect()
    gc.disable()
    before = set(threading.enumerate())
    try:
        registry.call("my_tool")
        (thread,) = following() - before
        gone = weakref.ref(registry)
        del registry
        assert gone() is None
        thread.join(WITHIN)
        assert not thread.is_alive()
    finally:
        gc.enable()


FORK = """
import os, sys, time
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], ExecutionStore(sys.argv[1]))
registry.call("my_tool")
pid = os.fork()
name = "child" if pid == 0 else "parent"
registry.call("my_tool")
os.write(1, f"{name}\\n".encode())  # in one piece: both write to the same pipe
deadline = time.monotonic() + 300
while registry.call("my_tool") != 2 and time.monotonic() < deadline:
    time.sleep(0.01)
assert registry.call("my_tool") == 2
registry.recorder.flush()
registry.close()
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def test_forked(store: ExecutionStore, url: str, here: ToolRegistry, folder: Path) -> None:
    """A forked child follows by itself, and its parent goes on."""
    here.deploy("my_tool", code(1))
    (folder / "my_tool.py").write_text(code(1))
    process = python(FORK, url, folder)
    assert process.stdout is not None
    assert {process.stdout.readline(), process.stdout.readline()} == {"parent\n", "child\n"}
    here.deploy("my_tool", code(2))
    finished(process)


def test_a_rollback_is_not_followed_where_it_was_made(store: ExecutionStore, here: ToolRegistry) -> None:
    """A folder that a rollback was made in has followed it: a known version that a person puts there then stays."""
    for version in (1, 2):
        here.deploy("my_tool", code(version))
    DeploymentMonitor(execution_store=store, tool_registry=here, notifiers=[]).roll_back("my_tool", reason="by hand")
    deployment = store.versions.live("my_tool")
    assert deployment is not None
    assert deployment.version_number == 1
    assert ReplicaState(here.folder.path, store).of("my_tool") == deployment.deployment_id
