"""Versions, the live pointer and the file: they change together, or not at all."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import (
    DeploymentConflict,
    InvalidInput,
    StoreUnavailable,
    ToolFileError,
    ToolLoadError,
    UnknownVersion,
)
from rollguard.registry import Folder
from tests.conftest import NOW, code
from tests.postgres import PostgresServer
from tests.processes import finished, python
from tests.registry.helpers import executions


def history(store: ExecutionStore, name: str = "my_tool") -> list[tuple[int, str, str]]:
    return [(v.version_number, v.kind, v.created_by) for v in reversed(store.versions.history(name))]


def lives(store: ExecutionStore, name: str = "my_tool") -> list[int]:
    """The versions that went live, in order."""
    return [d.version_number for d in reversed(store.versions.deployments(name))]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".rollguard-")]


# --- adoption --------------------------------------------------------------------------------------------------------


def test_first_start(store: ExecutionStore, tools_dir: Path) -> None:
    """Files that were there before Rollguard become version 1, live, byte for byte, and can be restored."""
    content = b"# caf\xc3\xa9\r\ndef my_tool():\r\n    return 1"
    (tools_dir / "my_tool.py").write_bytes(content)
    registry = ToolRegistry(tools_dir, store=store)
    assert history(store) == [(1, "initial", "unknown")]
    assert lives(store) == [1]
    assert store.versions.get("my_tool", 1).code == content
    registry.deploy("my_tool", code(2))
    registry.restore("my_tool", 1)
    assert (tools_dir / "my_tool.py").read_bytes() == content
    ToolRegistry(tools_dir, store=store)
    assert lives(store) == [1, 2, 1]


def test_later_files(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A file that is added later is adopted at its first call, or at the next refresh."""
    (tools_dir / "my_tool.py").write_text(code(1))
    (tools_dir / "other.py").write_text(code(1, "other"))
    assert registry.call("my_tool") == 1
    assert lives(store) == [1]
    assert history(store) == [(1, "initial", "unknown")]
    registry.refresh()
    assert [row["version_number"] for row in executions(store)] == [1]
    assert store.versions.live("other") is not None


def test_deploy_over_a_file_nobody_knows(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A deployment over a file that was never adopted adopts it first, so that it can be restored."""
    (tools_dir / "my_tool.py").write_text(code(1))
    assert registry.deploy("my_tool", code(2)) == 2
    assert history(store) == [(1, "initial", "unknown"), (2, "improvement", "human")]
    assert store.versions.previous_good("my_tool") == 1


# --- deploying and restoring -----------------------------------------------------------------------------------------


def test_deploy(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A deployment keeps the version with what is said of it, puts the file in place and moves the live pointer."""
    assert registry.deploy("my_tool", code(1), created_by="me", reason="first", deployed_at=NOW) == 1
    later = NOW + timedelta(hours=1)
    assert registry.deploy("my_tool", code(2).encode(), kind="bugfix", deployed_at=later) == 2
    assert history(store) == [(1, "initial", "me"), (2, "bugfix", "human")]
    assert store.versions.get("my_tool", 1).reason == "first"
    assert store.versions.get("my_tool", 2).parent_version == 1
    assert (tools_dir / "my_tool.py").read_text() == code(2)
    live = store.versions.live("my_tool")
    assert live is not None
    assert (live.version_number, live.deployed_at, live.deployed_by) == (2, later, "human")
    assert stat.S_IMODE((tools_dir / "my_tool.py").stat().st_mode) == 0o644
    assert hidden(tools_dir) == []


def test_identical_code_is_one_version(registry: ToolRegistry, store: ExecutionStore) -> None:
    """Code that was deployed before is the version it was; code that is live already is not deployed again."""
    assert [registry.deploy("my_tool", code(n)) for n in (1, 2, 2, 1, 1)] == [1, 2, 2, 1, 1]
    assert lives(store) == [1, 2, 1]
    registry.restore("my_tool", 1)
    assert lives(store) == [1, 2, 1]


def test_a_session_goes_on(registry: ToolRegistry, store: ExecutionStore, monitor: DeploymentMonitor) -> None:
    """Deploying live code again leaves its session alone; deploying other code supersedes it."""
    registry.deploy("my_tool", code(1))
    session_id = monitor.start_monitoring("my_tool", datetime.now(UTC))
    registry.deploy("my_tool", code(1))
    assert monitor.get_session(session_id).status == "active"
    registry.deploy("my_tool", code(2))
    assert monitor.get_session(session_id).status == "superseded"


def test_unknown_version(registry: ToolRegistry, store: ExecutionStore) -> None:
    """Restoring a version that was never kept is an `UnknownVersion` that names those that were."""
    registry.deploy("my_tool", code(1))
    with pytest.raises(UnknownVersion, match="it has 1"):
        registry.restore("my_tool", 2)
    with pytest.raises(UnknownVersion, match="it has none"):
        registry.restore("other", 1)
    assert lives(store) == [1]


def test_code_that_cannot_be_loaded(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Code that is no tool is refused and changes nothing: no version, no file, no pointer."""
    bad = ("def my_tool(:\n", "import nowhere_at_all\n", "x = 1\n", "", "raise SystemExit\n")
    for content in bad:
        with pytest.raises(ToolLoadError):
            registry.deploy("my_tool", content)
    assert list(tools_dir.glob("*.py")) == []
    registry.deploy("my_tool", code(1))
    for content in bad:
        with pytest.raises(ToolLoadError):
            registry.deploy("my_tool", content)
    assert (history(store), lives(store)) == ([(1, "initial", "human")], [1])
    assert registry.call("my_tool") == 1


def test_impossible_values(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A value that cannot be meant is an `InvalidInput` that names it; nothing is changed."""
    registry.deploy("my_tool", code(1))
    impossible: list[tuple[str, Any]] = [
        ("code", None),
        ("code", 5),
        ("code", "x = '\ud800'\ndef my_tool(): ..."),
        ("created_by", ""),
        ("created_by", None),
        ("created_by", "x" * 256),
        ("reason", "a\0b"),
        ("reason", "\ud800"),
        ("reason", 7),
        ("kind", "novelty"),
        ("deployed_at", "yesterday"),
    ]
    for name, value in impossible:
        arguments: dict[str, Any] = {"code": code(2), name: value}
        with pytest.raises(InvalidInput, match=name):
            registry.deploy("my_tool", **arguments)
    assert (history(store), lives(store)) == ([(1, "initial", "human")], [1])
    assert (tools_dir / "my_tool.py").read_text() == code(1)


# --- edits by hand ---------------------------------------------------------------------------------------------------


def test_hand_edit_is_kept(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A file that was edited by hand is a version of its own, author unknown, and can be restored."""
    registry.deploy("my_tool", code(1))
    (tools_dir / "my_tool.py").write_text(code(7))
    assert registry.call("my_tool") == 7
    assert registry.deploy("my_tool", code(2)) == 3
    assert history(store) == [(1, "initial", "human"), (2, "edit", "unknown"), (3, "improvement", "human")]
    assert store.versions.get("my_tool", 2).code == code(7).encode()
    assert lives(store) == [1, 2, 3]
    registry.restore("my_tool", 2)
    assert registry.call("my_tool") == 7


def test_deploying_live_code_over_a_hand_edit(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Deploying what the books call live puts it back over an edit, and keeps the edit; that is no new deployment."""
    registry.deploy("my_tool", code(1))
    (tools_dir / "my_tool.py").write_text(code(7))
    assert registry.deploy("my_tool", code(1)) == 1
    assert registry.call("my_tool") == 1
    assert lives(store) == [1]
    assert [kind for _, kind, _ in history(store)] == ["initial", "edit"]


def test_known_code_is_no_hand_edit(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A file that holds an older version's code is nothing new."""
    for version in (1, 2):
        registry.deploy("my_tool", code(version))
    (tools_dir / "my_tool.py").write_text(code(1))
    assert registry.keep_hand_edit("my_tool") is None
    assert registry.call("my_tool") == 1
    assert executions(store)[0]["version_number"] == 1


# --- files that cannot be written ------------------------------------------------------------------------------------


def test_a_folder_in_the_files_place(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """When the file cannot be written, the books stay as they were, the version is kept and nothing is left over."""
    (tools_dir / "my_tool.py").mkdir()
    with pytest.raises(ToolFileError):
        registry.deploy("my_tool", code(1))
    assert lives(store) == []
    (tools_dir / "my_tool.py").rmdir()
    registry.deploy("my_tool", code(1))
    (tools_dir / "my_tool.py").unlink()
    (tools_dir / "my_tool.py").mkdir()
    with pytest.raises(ToolFileError):
        registry.restore("my_tool", 1)
    assert lives(store) == [1]
    assert hidden(tools_dir) == []


TOO_LARGE = """
import resource, signal, sys
from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import ToolFileError
from rollguard.registry import Folder
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1]))
put = Folder.swap
def limited(self, name, code):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        put(self, name, code)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
Folder.swap = limited
try:
    registry.deploy("my_tool", "def my_tool():\\n    return 2\\n" + "#" * 10_000)
except ToolFileError as error:
    print(error)
assert registry.call("my_tool") == 1
"""


def test_a_write_that_fails_halfway(registry: ToolRegistry, store: ExecutionStore, url: str, tools_dir: Path) -> None:
    """A write that the system cuts short (a full disk, a limit) leaves file and books as they were, and no rest."""
    registry.deploy("my_tool", "def my_tool():\n    return 1\n")
    assert "File too large" in finished(python(TOO_LARGE, url, tools_dir))
    assert lives(store) == [1]
    assert (tools_dir / "my_tool.py").read_text() == "def my_tool():\n    return 1\n"
    assert hidden(tools_dir) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A folder without permission to write is a `ToolFileError`, and the books stay as they were."""
    registry.deploy("my_tool", code(1))
    tools_dir.chmod(0o555)
    try:
        with pytest.raises(ToolFileError):
            registry.deploy("my_tool", code(2))
    finally:
        tools_dir.chmod(0o755)
    assert lives(store) == [1]
    assert registry.call("my_tool") == 1


def test_mode_is_kept(registry: ToolRegistry, tools_dir: Path) -> None:
    """A swap keeps the mode of the file."""
    registry.deploy("my_tool", code(1))
    (tools_dir / "my_tool.py").chmod(0o750)
    registry.deploy("my_tool", code(2))
    assert stat.S_IMODE((tools_dir / "my_tool.py").stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner_is_kept(registry: ToolRegistry, tools_dir: Path) -> None:
    """A swap keeps the owner of the file, and all of its mode with it."""
    registry.deploy("my_tool", code(1))
    os.chown(tools_dir / "my_tool.py", 1234, 2345)
    (tools_dir / "my_tool.py").chmod(0o2750)
    registry.deploy("my_tool", code(2))
    found = (tools_dir / "my_tool.py").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o2750)


SOMEBODY_ELSE = """
import os, sys
from rollguard.registry import Folder
os.setgid(2345); os.setuid(2345)
Folder(sys.argv[1]).swap("my_tool", b"def my_tool(): return 2")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_an_owner_that_cannot_be_kept(tmp_path: Path) -> None:
    """Whoever may write the folder but not give files away swaps the file all the same: a rollback is worth more."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "my_tool.py").write_text("def my_tool(): return 1")
        process = python(SOMEBODY_ELSE, folder)
        _, err = process.communicate(timeout=300)
        if "ModuleNotFoundError" in err or "PermissionError" in err:
            pytest.skip("the code is where other users may not read it")
        assert process.returncode == 0, err
        assert (folder / "my_tool.py").read_text() == "def my_tool(): return 2"


def test_links_are_replaced_not_followed(registry: ToolRegistry, tools_dir: Path, tmp_path: Path) -> None:
    """A tool's file that is a link out of the folder is served, but a swap replaces the link, not what it leads to."""
    outside = tmp_path / "outside.py"
    outside.write_text(code(1))
    (tools_dir / "my_tool.py").symlink_to(outside)
    assert registry.call("my_tool") == 1
    registry.deploy("my_tool", code(2))
    assert registry.call("my_tool") == 2
    assert outside.read_text() == code(1)


# --- leftovers and crashes -------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from rollguard.registry import Folder
real = os.fsync
def die(descriptor):
    real(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
Folder(sys.argv[1]).swap("my_tool", b"def my_tool(): return 2")
"""


def test_leftovers_of_a_killed_process(store: ExecutionStore, registry: ToolRegistry, tools_dir: Path) -> None:
    """What a process killed in the midst of a swap leaves is no tool, changes nothing, and goes at the next start."""
    registry.deploy("my_tool", code(1))
    process = python(KILLED, tools_dir)
    process.communicate(timeout=300)
    assert process.returncode == -9
    assert len(hidden(tools_dir)) == 1
    assert registry.refresh() == {}
    assert registry.call("my_tool") == 1
    ToolRegistry(tools_dir, store=store)
    assert hidden(tools_dir) == []


PAUSED = """
import os, sys
from rollguard.registry import Folder
real = os.fsync
def pause(descriptor):
    real(descriptor)
    os.fsync = real
    print("in the midst", flush=True)
    sys.stdin.readline()
os.fsync = pause
Folder(sys.argv[1]).swap("my_tool", b"def my_tool(): return 2")
"""


def test_a_start_spares_the_swaps_of_others(store: ExecutionStore, registry: ToolRegistry, tools_dir: Path) -> None:
    """A registry that starts while another process is in the midst of a swap does not take its file away."""
    registry.deploy("my_tool", code(1))
    process = python(PAUSED, tools_dir)
    assert process.stdout is not None
    assert process.stdout.readline() == "in the midst\n"
    ToolRegistry(tools_dir, store=store)
    assert len(hidden(tools_dir)) == 1
    finished(process)
    assert (tools_dir / "my_tool.py").read_text() == "def my_tool(): return 2"
    assert hidden(tools_dir) == []


def test_the_books_go_away_during_a_deployment(postgres: PostgresServer, tools_dir: Path) -> None:
    """When the database goes away after the file was swapped, the file is put back: both change, or neither."""
    database = postgres.new_database()
    with ExecutionStore(database) as store:
        registry = ToolRegistry(tools_dir, store=store)
        registry.deploy("my_tool", code(1))
        swap = registry.folder.swap

        def swap_and_cut(name: str, content: bytes) -> None:
            swap(name, content)
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database.partition('@/')[2].partition('?')[0]}'"
            )

        registry.folder.swap = swap_and_cut  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            registry.deploy("my_tool", code(2))
        with pytest.raises(StoreUnavailable):
            registry.deploy("other", code(2, "other"))
        registry.folder.swap = swap  # type: ignore[method-assign]
        assert (tools_dir / "my_tool.py").read_text() == code(1)
        assert not (tools_dir / "other.py").exists()
        assert lives(store) == [1]
        assert registry.call("my_tool") == 1


# --- two at once -----------------------------------------------------------------------------------------------------


def test_a_file_that_changes_under_a_deployment(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """An edit that is saved in the very moment of a deployment is not lost: the deployment fails as a conflict."""
    registry.deploy("my_tool", code(1))
    go_live = store.versions.go_live

    def edited_just_before(*args: Any, **kwargs: Any) -> Any:
        (tools_dir / "my_tool.py").write_text(code(7))
        return go_live(*args, **kwargs)

    store.versions.go_live = edited_just_before  # type: ignore[method-assign]
    with pytest.raises(DeploymentConflict, match="changed at this moment"):
        registry.deploy("my_tool", code(2))
    store.versions.go_live = go_live  # type: ignore[method-assign]
    assert (tools_dir / "my_tool.py").read_text() == code(7)
    assert lives(store) == [1]


def test_deploying_again_does_not_undo_a_deployment_under_way(
    registry: ToolRegistry, store: ExecutionStore, url: str, tools_dir: Path
) -> None:
    """Live code that is deployed again while another process deploys something else does not take that one's place."""
    registry.deploy("my_tool", code(1))
    live = store.versions.live
    calls = []

    with ExecutionStore(url) as second_store:
        second = ToolRegistry(tools_dir, store=second_store)

        def and_then_another_deploys(name: str) -> Any:
            found = live(name)
            calls.append(name)
            if len(calls) == 2:  # the last look before the file is compared
                second.deploy("my_tool", code(2))
            return found

        store.versions.live = and_then_another_deploys  # type: ignore[method-assign]
        with pytest.raises(DeploymentConflict, match="another version went live"):
            registry.deploy("my_tool", code(1))
    assert len(calls) == 2
    assert (tools_dir / "my_tool.py").read_text() == code(2)
    assert lives(store) == [1, 2]


def test_folder_swap_of_a_new_name(tmp_path: Path) -> None:
    """A swap makes the file if there was none, and a removal takes it away; both are harmless when repeated."""
    folder = Folder(tmp_path / "new")
    folder.swap("a", b"1")
    folder.swap("a", b"1")
    assert folder.read("a") == b"1"
    folder.remove("a")
    folder.remove("a")
    assert folder.read("a") is None


def test_a_broken_file_is_never_what_a_rollback_restores(store: ExecutionStore, tools_dir: Path) -> None:
    """A file that could not be loaded when it was first seen is kept as a version, and is no version to go back to."""
    (tools_dir / "my_tool.py").write_text("def my_tool(:")
    registry = ToolRegistry(tools_dir, store=store)
    good = registry.deploy("my_tool", "def my_tool():\n    return 1\n")
    assert [(v.version_number, v.kind, v.created_by) for v in store.versions.history("my_tool")] == [
        (2, "initial", "human"),
        (1, "edit", "unknown"),
    ]
    assert good == 2
    assert store.versions.previous_good("my_tool") is None
