"""Swaps of a tool's file whose transaction was never committed, or of which nobody knows whether it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollguard import ExecutionStore, Rollguard, ToolRegistry
from rollguard.cli.doctor import examine
from rollguard.errors import ToolFileError
from rollguard.registry.folder.swap_journal import entries_in, write_entry
from rollguard.settings import Settings
from rollguard.store import digest
from tests.conftest import Guard, code
from tests.postgres import PostgresServer
from tests.processes import finished, python
from tests.watching import recover

DIE_IN_THE_SWAP = """
import os, sys
from rollguard import ExecutionStore, ToolRegistry
url, tools, name, content = sys.argv[1:]
registry = ToolRegistry(tools, store=ExecutionStore(url))
swap = registry.folder.swap
def swap_and_die(name, code):
    swap(name, code)
    os._exit(9)
registry.folder.swap = swap_and_die
registry.deploy(name, content)
"""


@pytest.fixture
def die(url: str, tools_dir: Path) -> Callable[..., None]:
    """Deploys code in a process that dies between the swap of the file and the commit of the books."""

    def deploy(version: int, tool: str = "my_tool") -> None:
        process = python(DIE_IN_THE_SWAP, url, tools_dir, tool, code(version, tool))
        process.communicate()
        assert process.returncode == 9
        assert (tools_dir / f"{tool}.py").read_text() == code(version, tool)

    return deploy


def test_the_next_process_takes_it_back(guard: Guard, die: Callable[..., None], tools_dir: Path) -> None:
    """A registry that is opened puts the live version back into the file, and no version comes of the swap."""
    guard.deploy(1)
    die(2)
    registry = ToolRegistry(tools_dir, store=guard.store)
    assert (tools_dir / "my_tool.py").read_text() == code(1)
    assert registry.call("my_tool", x=1) == 2
    assert entries_in(tools_dir) == []
    assert [v.kind for v in guard.store.versions.history("my_tool")] == ["improvement", "initial"]


def test_a_first_deployment_is_taken_back(guard: Guard, die: Callable[..., None], tools_dir: Path) -> None:
    """A tool that was never live has no file afterwards, and is not adopted."""
    die(1, "fresh")
    guard.registry.refresh()
    assert not (tools_dir / "fresh.py").exists()
    assert guard.store.versions.live("fresh") is None


def test_a_watcher_takes_it_back(guard: Guard, die: Callable[..., None], tools_dir: Path) -> None:
    """A process that was there before puts it right in its next cycle."""
    guard.deploy(1)
    die(2)
    recover(guard.monitor, now=guard.now)
    assert (tools_dir / "my_tool.py").read_text() == code(1)


def test_the_next_deployment_does_not_need_it(guard: Guard, die: Callable[..., None], tools_dir: Path) -> None:
    """The same code deployed again by a process that was there before goes live."""
    guard.deploy(1)
    die(2)
    assert guard.deploy(2) == 2
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert live.version_number == 2
    assert (tools_dir / "my_tool.py").read_text() == code(2)
    assert entries_in(tools_dir) == []


def test_what_a_person_wrote_since_stays(guard: Guard, die: Callable[..., None], tools_dir: Path) -> None:
    """A file that was edited after the crash is a person's, and is not touched."""
    guard.deploy(1)
    die(2)
    (tools_dir / "my_tool.py").write_text(code(5))
    recover(guard.monitor, now=guard.now)
    assert (tools_dir / "my_tool.py").read_text() == code(5)
    assert entries_in(tools_dir) == []


def test_an_edit_that_was_swapped_over_comes_back(guard: Guard, die: Callable[..., None], tools_dir: Path) -> None:
    """Where the file was edited by hand before the deployment that was cut short, it holds that edit again."""
    guard.deploy(1)
    (tools_dir / "my_tool.py").write_text(code(5))
    die(2)
    recover(guard.monitor, now=guard.now)
    assert (tools_dir / "my_tool.py").read_text() == code(5)


def test_a_commit_whose_answer_was_lost(guard: Guard, tools_dir: Path) -> None:
    """Where the file was put back because nobody answered, and the books had taken it, it is swapped again."""
    guard.deploy(1)
    guard.deploy(2)
    entry = write_entry(tools_dir, "my_tool", before=digest(code(1).encode()), after=digest(code(2).encode()), live=1)
    entry.leave()
    guard.registry.folder.swap("my_tool", code(1).encode())
    assert guard.registry.settle_swaps() == ["my_tool"]
    assert (tools_dir / "my_tool.py").read_text() == code(2)
    assert not entry.path.exists()


def test_a_note_that_was_cut_short_says_nothing(guard: Guard, tools_dir: Path) -> None:
    """A process that died while it wrote its note had swapped nothing yet."""
    guard.deploy(1)
    (tools_dir / ".rollguard.swap.my_tool.0123").write_text('{"bef')
    assert guard.registry.settle_swaps() == []
    assert entries_in(tools_dir) == []
    assert (tools_dir / "my_tool.py").read_text() == code(1)


def test_a_swap_under_way_is_left_alone(guard: Guard, url: str, tools_dir: Path) -> None:
    """While a living process swaps, others wait for it, and find nothing to put right."""
    program = """
import sys
from rollguard import ExecutionStore, ToolRegistry
url, tools, content = sys.argv[1:]
registry = ToolRegistry(tools, store=ExecutionStore(url))
swap = registry.folder.swap
def swap_and_wait(name, code):
    swap(name, code)
    print("swapped", flush=True)
    sys.stdin.readline()
registry.folder.swap = swap_and_wait
registry.deploy("my_tool", content)
"""
    guard.deploy(1)
    process = python(program, url, tools_dir, code(2))
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "swapped\n"
    settling = python(
        "import sys; from rollguard import ExecutionStore, ToolRegistry\n"
        "print('opening', flush=True)\n"
        "print(ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1], busy_timeout=300)).call('my_tool', x=1))",
        url,
        tools_dir,
    )
    assert settling.stdout is not None
    assert settling.stdout.readline() == "opening\n"
    process.stdin.write("\n")
    process.stdin.flush()
    finished(process)
    assert settling.communicate()[0] == "3\n"
    assert (tools_dir / "my_tool.py").read_text() == code(2)


def test_a_rollback_cut_short_and_then_called_off(guard: Guard, store: ExecutionStore, tools_dir: Path) -> None:
    """Where a rollback dies after its swap, and a person cancels, the file holds what the books say is live."""
    guard.deploy(1)
    guard.deploy(2)
    write_entry(tools_dir, "my_tool", before=digest(code(2).encode()), after=digest(code(1).encode()), live=2).leave()
    guard.registry.folder.swap("my_tool", code(1).encode())
    recover(guard.monitor, now=guard.now)
    assert (tools_dir / "my_tool.py").read_text() == code(2)


def test_no_version_goes_live_unwatched(guard: Guard, url: str, tools_dir: Path) -> None:
    """A deployment and its watch begin in one transaction: where the swap fails, the session before goes on."""
    guard.deploy(1)
    session_id = guard.watch()
    with Rollguard(Settings(database=url, tools_dir=tools_dir)) as system:
        swap = system.registry.folder.swap

        def fail(_name: str, _code: bytes) -> None:
            raise ToolFileError("no")

        system.registry.folder.swap = fail  # type: ignore[method-assign]
        with pytest.raises(ToolFileError):
            system.deploy("my_tool", code(2))
        assert [s.session_id for s in guard.monitor.get_active_sessions()] == [session_id]
        system.registry.folder.swap = swap  # type: ignore[method-assign]
        deployed = system.deploy("my_tool", code(2))
    (session,) = guard.monitor.get_active_sessions()
    assert (session.session_id, session.version_number) == (deployed.session_id, 2)
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert session.deployment_time == live.deployed_at
    assert guard.session(session_id).status == "superseded"


def test_the_doctor_tells_of_it(guard: Guard, die: Callable[..., None], url: str, tools_dir: Path) -> None:
    """Until it is put right, the doctor says that a swap was cut short, and who mends it."""
    guard.deploy(1)
    die(2)
    findings = examine(Settings(database=url, tools_dir=tools_dir), guard.now)
    assert any("cut short: my_tool" in finding.says for finding in findings)
    recover(guard.monitor, now=guard.now)
    findings = examine(Settings(database=url, tools_dir=tools_dir), guard.now)
    assert not any("cut short" in finding.says for finding in findings)


def test_a_folder_that_takes_no_note_is_not_swapped(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the note cannot be written, nothing is changed, and the error says so."""
    guard.deploy(1)

    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if bytes(content).startswith(b'{"before"'):
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ToolFileError, match="No space left"):
        guard.deploy(2)
    monkeypatch.undo()
    assert guard.registry.call("my_tool", x=1) == 2


STAND_STILL = """
import sys
from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import StoreUnavailable
url, tools, content, moment = sys.argv[1:]
registry = ToolRegistry(tools, store=ExecutionStore(url))
swap = registry.folder.swap
def swap_late(name, code):
    registry.folder.swap = swap
    if moment == "after":
        swap(name, code)
    print("stands still", flush=True)
    sys.stdin.readline()
    if moment == "before":
        swap(name, code)
registry.folder.swap = swap_late
try:
    registry.deploy("my_tool", content)
except StoreUnavailable:
    print("too late", flush=True)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("end", ["goes on", "is killed"])
def test_a_process_that_stood_still_does_not_undo_a_deployment(
    tmp_path: Path, tools_dir: Path, postgres: PostgresServer, moment: str, end: str
) -> None:
    """Where the server gave up a process that stands still in its swap, and others deployed, their version stays."""
    url = postgres.new_database()
    with ExecutionStore(url) as store:
        registry = ToolRegistry(tools_dir, store=store)
        registry.deploy("my_tool", code(1))
        process = python(STAND_STILL, url, tools_dir, code(2), moment)
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "stands still\n"
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' "
            f"AND datname = '{url.partition('?')[0].rpartition('/')[2]}'"
        )
        registry.settle_swaps()
        assert registry.deploy("my_tool", code(3)) == 3
        if end == "goes on":
            assert process.communicate("\n")[0] == "too late\n"
            assert process.returncode == 0
        else:
            process.kill()
            process.communicate()
            registry.settle_swaps()
        assert (tools_dir / "my_tool.py").read_text() == code(3)
        assert entries_in(tools_dir) == []
        assert registry.call("my_tool", x=1) == 4


def test_a_late_swap_that_its_process_did_not_survive(guard: Guard, tools_dir: Path) -> None:
    """A file that a process swapped late, over a later deployment, is brought to what the books say by the next one."""
    guard.deploy(1)
    guard.deploy(2)
    first = guard.store.versions.deployments("my_tool")[-1].deployment_id
    sha256 = [digest(code(number).encode()) for number in (1, 9)]
    guard.store.versions.add("my_tool", code(9).encode(), kind=None, created_by="ada", reason=None, now=guard.now)
    write_entry(tools_dir, "my_tool", before=sha256[0], after=sha256[1], live=first).leave()
    guard.registry.folder.swap("my_tool", code(9).encode())
    assert guard.registry.settle_swaps() == ["my_tool"]
    assert (tools_dir / "my_tool.py").read_text() == code(2)


def test_the_note_of_a_living_process_is_left_to_it(guard: Guard, tools_dir: Path) -> None:
    """A note is settled by others only once the process that wrote it is gone."""
    guard.deploy(1)
    entry = write_entry(tools_dir, "my_tool", before=digest(code(1).encode()), after="0" * 64, live=1)
    guard.registry.settle_swaps()
    assert [known.living for known in entries_in(tools_dir)] == [True]
    entry.leave()
    guard.registry.settle_swaps()
    assert entries_in(tools_dir) == []
