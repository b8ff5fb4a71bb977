"""Files that are changed in place: by an editor, by git, on one machine or on several."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput, InvalidSetting, ToolLoadError, UnknownTool
from rollguard.loop.stages import EditsStage, QuarantineStage
from rollguard.model.version import Deployment
from rollguard.settings import Settings
from rollguard.store import Intention
from tests.conftest import NOW, code
from tests.registry.helpers import checked_before, checks_are_over, executions

BAD = "def my_tool(x: int = 0) -> int:\n    raise ValueError(x)\n"


@pytest.fixture
def serving(store: ExecutionStore, tools_dir: Path) -> ToolRegistry:
    """A process that serves version 1, and looks at the file at each call."""
    registry = ToolRegistry(tools_dir, store, check_every=0)
    registry.deploy("my_tool", code(1))
    assert registry.call("my_tool") == 1
    return registry


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The folder of another machine."""
    made = tmp_path / "elsewhere"
    made.mkdir()
    return made


def save(registry: ToolRegistry, text: str | bytes) -> object:
    """Save the file as an editor does, and call the tool when the new code was checked."""
    registry.folder.file("my_tool").write_bytes(text if isinstance(text, bytes) else text.encode())
    registry.call("my_tool")
    checks_are_over()
    return registry.call("my_tool")


def lives(store: ExecutionStore) -> list[int]:
    return [deployment.version_number for deployment in store.versions.deployments("my_tool")][::-1]


def live(store: ExecutionStore) -> Deployment:
    deployment = store.versions.live("my_tool")
    assert deployment is not None
    return deployment


def test_an_edit_is_a_version(serving: ToolRegistry, monitor: DeploymentMonitor, store: ExecutionStore) -> None:
    """An edit is a version, live and monitored, from its first call on, and its calls name it."""
    serving.monitor_edits_with(monitor)
    assert save(serving, code(2)) == 2
    assert lives(store) == [1, 2]
    edit = store.versions.get("my_tool", 2)
    assert (edit.kind, edit.created_by, edit.parent_version) == ("edit", "unknown", 1)
    (session,) = store.sessions.active("my_tool")
    assert (session.version_number, session.deployment_time) == (2, live(store).deployed_at)
    numbers = [row["version_number"] for row in executions(store)]
    assert numbers == [1, 1, 2]  # while the edit was checked, version 1 was served


def test_a_burst_of_saves(serving: ToolRegistry, monitor: DeploymentMonitor, store: ExecutionStore) -> None:
    """Saves that follow one another are one edit: one active session, from the first save on; the others are over."""
    serving.monitor_edits_with(monitor)
    for number in range(2, 7):
        assert save(serving, code(number)) == number
    assert lives(store) == [1, 2, 3, 4, 5, 6]
    (session,) = store.sessions.active("my_tool")
    deployments = store.versions.deployments("my_tool")
    assert (session.version_number, session.deployment_time) == (6, deployments[-2].deployed_at)
    assert [each.status for each in store.sessions.recent(tool_name="my_tool")] == ["active"] + ["superseded"] * 4
    assert store.versions.previous_good("my_tool") == 1  # nobody knows whether the saves between were good


def test_saves_that_do_not_follow_at_once(store: ExecutionStore, tools_dir: Path) -> None:
    """Saves that lie further apart than `edit_seconds` are edits of their own, and the one before can be restored."""
    registry = ToolRegistry(tools_dir, store, check_every=0, edit_seconds=0)
    monitor = DeploymentMonitor(store, registry)
    registry.deploy("my_tool", code(1))
    for number in (2, 3):
        assert save(registry, code(number)) == number
    (session,) = monitor.get_active_sessions()
    assert session.deployment_time == live(store).deployed_at
    assert store.versions.previous_good("my_tool") == 2


def test_a_bad_edit_is_rolled_back(serving: ToolRegistry, monitor: DeploymentMonitor, store: ExecutionStore) -> None:
    """What is rolled back and quarantined is the edit; put back by hand, it is not served, and people are notified."""
    serving.monitor_edits_with(monitor)
    for _ in range(40):
        serving.call("my_tool")
    with pytest.raises(ValueError, match="0"):
        save(serving, BAD)
    for _ in range(20):
        with pytest.raises(ValueError, match="0"):
            serving.call("my_tool")
    (session,) = store.sessions.active("my_tool")
    done = monitor.auto_rollback_if_needed("my_tool", session.session_id)
    assert done["rollback_performed"]
    assert (serving.call("my_tool"), live(store).version_number) == (1, 1)
    (held,) = store.quarantine.in_force("my_tool")
    assert held.version_number == 2
    assert save(serving, BAD) == 1
    assert "quarantine" in serving.problems["my_tool"]
    with pytest.raises(ToolLoadError, match="version 2, which is in quarantine, so version 1 is served"):
        serving.get_tool("my_tool")
    QuarantineStage(store, serving).run(None)
    due = store.outbox.take_due(live(store).deployed_at + timedelta(days=9))
    assert any("it is not served" in str(each.event) for each in due)
    fresh = ToolRegistry(serving.folder.path, store)
    assert fresh.call("my_tool") == 1
    assert lives(store) == [1, 2, 1]


def test_an_edit_overtakes_a_rollback(serving: ToolRegistry, store: ExecutionStore) -> None:
    """An edit that is served after a rollback was decided stays: a person wins."""
    monitor = DeploymentMonitor(store, serving)
    serving.deploy("my_tool", code(2))
    session = monitor.start_monitoring("my_tool", live(store).deployed_at)
    claimed = monitor.runner.claim(
        Intention("my_tool", session, 2, None, reason="it fails", rollback_type="automatic", requested_by="rollguard"),
        live(store).deployed_at,
    )
    assert claimed.state == "claimed"
    serving.call("my_tool")
    assert save(serving, code(3)) == 3
    assert monitor.runner.recover() == []
    assert (serving.call("my_tool"), lives(store)) == (3, [1, 2, 3])
    assert [each.version_number for each in monitor.get_active_sessions()] == [3]


def test_a_revert(serving: ToolRegistry, store: ExecutionStore) -> None:
    """Known code that is put back under a running server is an edit too: it goes live, with a session of its own."""
    monitor = DeploymentMonitor(store, serving)
    serving.deploy("my_tool", code(2))
    serving.call("my_tool")
    assert save(serving, code(1)) == 1
    assert lives(store) == [1, 2, 1]
    assert [session.version_number for session in monitor.get_active_sessions()] == [1]
    assert executions(store)[-1]["version_number"] == 1


@pytest.mark.parametrize(
    "broken", ["def my_tool(:\n", "", "x = 1\n", b"\xff\xfe\0", "raise OSError\ndef my_tool(): ...\n"]
)
def test_a_broken_save(
    serving: ToolRegistry, store: ExecutionStore, broken: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be loaded takes no tool away, in a running process and in one that starts; it is reported."""
    with caplog.at_level(logging.ERROR):
        assert save(serving, broken) == 1
    assert any("goes on serving" in record.getMessage() for record in caplog.records)
    fresh = ToolRegistry(serving.folder.path, store)
    assert fresh.call("my_tool") == 1
    assert "my_tool" in fresh.problems
    assert executions(store)[-1]["version_number"] == 1
    assert lives(store) == [1]
    assert save(serving, code(3)) == 3
    assert lives(store) == [1, 2]


def test_a_file_that_git_replaces(serving: ToolRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing for a moment, as while git replaces it, takes the tool away from no call."""
    path = serving.folder.file("my_tool")
    path.unlink()
    checked_before(serving.folder.path, [code(2)])
    monkeypatch.setattr("rollguard.registry.serve.live_tools.time.sleep", lambda _seconds: path.write_text(code(2)))
    assert serving.call("my_tool") == 2
    path.unlink()
    monkeypatch.setattr("rollguard.registry.serve.live_tools.time.sleep", lambda _seconds: None)
    with pytest.raises(UnknownTool):
        serving.call("my_tool")


def test_edits_without_a_monitor(serving: ToolRegistry, store: ExecutionStore, tmp_path: Path) -> None:
    """An edit that a process without a monitor serves is monitored by the next loop, once, from the edit on."""
    save(serving, code(2))
    assert store.sessions.active() == []
    monitor = DeploymentMonitor(store, ToolRegistry(tmp_path / "of the watcher", store))
    EditsStage(monitor).run(None)
    EditsStage(monitor).run(None)
    (session,) = store.sessions.recent()
    assert (session.version_number, session.deployment_time) == (2, live(store).deployed_at)
    monitor.cancel_monitoring(session.session_id)
    EditsStage(monitor).run(None)
    assert [each.status for each in store.sessions.recent()] == ["cancelled"]


def test_forced_while_it_is_held_back(serving: ToolRegistry, store: ExecutionStore) -> None:
    """Code in quarantine whose deployment is forced is served at the next check, also if its swap was seen before."""
    monitor = DeploymentMonitor(store, serving)
    version = serving.deploy("my_tool", code(2))
    serving.call("my_tool")
    monitor.roll_back("my_tool", reason="by hand", quarantine=True)
    assert save(serving, code(2)) == 1
    store.quarantine.lift("my_tool", version, by="me", now=NOW)  # as the transaction of `deploy --force` does
    assert serving.call("my_tool") == 2
    assert live(store).version_number == 2


def test_found_at_a_start(serving: ToolRegistry, store: ExecutionStore) -> None:
    """Known code that a process finds when it starts does not go live: what is live is served, and this is reported."""
    serving.deploy("my_tool", code(2))
    serving.close()
    serving.folder.file("my_tool").write_text(code(1))
    fresh = ToolRegistry(serving.folder.path, store)
    assert fresh.call("my_tool") == 2
    assert "holds version 1, but version 2 is live" in fresh.problems["my_tool"]
    assert lives(store) == [1, 2]
    assert executions(store)[-1]["version_number"] == 2
    fresh.deploy("my_tool", code(1))
    assert (fresh.call("my_tool"), lives(store), fresh.problems) == (1, [1, 2, 1], {})


def test_new_code_found_at_a_start(serving: ToolRegistry, store: ExecutionStore) -> None:
    """An edit that was made while no process served the folder goes live, and is monitored, at its first call."""
    serving.close()
    serving.folder.file("my_tool").write_text(code(2))
    fresh = ToolRegistry(serving.folder.path, store)
    monitor = DeploymentMonitor(store, fresh)
    assert (fresh.call("my_tool"), lives(store)) == (2, [1, 2])
    assert [session.version_number for session in monitor.get_active_sessions()] == [2]


@pytest.fixture
def other(url: str) -> Iterator[ExecutionStore]:
    """The connections of the other machine."""
    with ExecutionStore(url) as opened:
        yield opened


@pytest.mark.parametrize("follow", [True, False])
def test_a_rolling_update(
    serving: ToolRegistry, store: ExecutionStore, other: ExecutionStore, elsewhere: Path, *, follow: bool
) -> None:
    """Processes with old and new files on one database settle: the new code went live once, whoever starts again."""
    serving.close()
    old, new = serving.folder.path, elsewhere
    (new / "my_tool.py").write_text(code(2))
    for start in range(4):  # each machine's process starts again and again, with the files of its image
        for folder, text, opened in ((new, code(2), other), (old, code(1), store)):
            (folder / "my_tool.py").write_text(text)
            registry = ToolRegistry(folder, opened, check_every=0, follow=follow)
            answers = {registry.call("my_tool") for _ in range(3)}
            assert answers == ({2} if follow or folder is new else {1}), (start, folder)
            registry.close()
    assert lives(store) == [1, 2]


def test_a_program_that_puts_old_files_back(
    serving: ToolRegistry, other: ExecutionStore, elsewhere: Path, follows: Callable[[ToolRegistry], None]
) -> None:
    """Where a program keeps each folder at a revision of its own, what is live does not move to and fro."""
    (elsewhere / "my_tool.py").write_text(code(1))
    checked_before(elsewhere, [code(1), code(2)])
    there = ToolRegistry(elsewhere, other, check_every=0)
    assert there.call("my_tool") == 1
    assert save(serving, code(2)) == 2
    follows(there)
    assert there.call("my_tool") == 2
    for _ in range(3):
        assert save(there, code(1)) == 2
        follows(there)
        assert save(serving, code(2)) == 2
    assert lives(other) == [1, 2]
    assert "holds version 1" in there.problems["my_tool"]


@pytest.fixture
def follows() -> Callable[[ToolRegistry], None]:
    """Waits until a registry has written what is live elsewhere."""
    import threading

    def wait(registry: ToolRegistry) -> None:
        replica = registry._replica
        assert replica is not None
        replica.stop()
        replica.catch_up(threading.Event())

    return wait


def test_an_edit_on_an_old_version(
    serving: ToolRegistry, other: ExecutionStore, elsewhere: Path, follows: Callable[[ToolRegistry], None]
) -> None:
    """An edit of a version that is no longer live is kept as a version, and does not replace what is live elsewhere."""
    (elsewhere / "my_tool.py").write_text(code(1))
    checked_before(elsewhere, [code(1), code(2)])
    there = ToolRegistry(elsewhere, other, check_every=0)
    there.call("my_tool")
    follows(there)
    there.close()
    serving.deploy("my_tool", code(2))
    (elsewhere / "my_tool.py").write_text(code(7))
    again = ToolRegistry(elsewhere, other, check_every=0)
    again.call("my_tool")
    follows(again)
    assert again.call("my_tool") == 2
    assert lives(other) == [1, 2]
    assert {version.version_number: version.kind for version in other.versions.history("my_tool")}[3] == "edit"


def test_edit_seconds(store: ExecutionStore, tools_dir: Path, tmp_path: Path) -> None:
    """The time is a setting, and must be a number of seconds."""
    file = tmp_path / "rollguard.toml"
    file.write_text("edit_seconds = 5\n")
    assert Settings.load(file, {}).edit_seconds == 5
    assert Settings.load(file, {"ROLLGUARD_EDIT_SECONDS": "7.5"}).edit_seconds == 7.5
    with pytest.raises(InvalidSetting, match="edit_seconds"):
        Settings.load(file, {"ROLLGUARD_EDIT_SECONDS": "-1"})
    with pytest.raises(InvalidInput, match="edit_seconds"):
        ToolRegistry(tools_dir, store, edit_seconds=-1)


def test_a_live_version_that_does_not_load_here(store: ExecutionStore, tools_dir: Path) -> None:
    """Where a live version does not load on this machine, each call fails and names it, and it is logged once."""
    broken = b"import nothing_of_that_name\ndef my_tool(): ...\n"
    version = store.versions.add("my_tool", broken, kind=None, created_by="me", reason=None, now=NOW)
    store.versions.go_live(
        "my_tool",
        version.version_number,
        swap=lambda _version: None,
        deployed_by="me",
        reason=None,
        deployed_at=NOW,
        expected_live=None,
    )
    (tools_dir / "my_tool.py").write_bytes(broken)
    registry = ToolRegistry(tools_dir, store, check_every=0)
    with counted_errors() as errors:
        for _ in range(3):
            with pytest.raises(ToolLoadError):
                registry.call("my_tool")
    assert [row["version_number"] for row in executions(store)] == [1, 1, 1]
    assert len(errors) == 1


def test_closing_while_an_edit_is_checked(serving: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A check that ends after the store was closed opens no connection; the next call serves the edit."""
    go = tools_dir.parent / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.005)\n"
    serving.folder.file("my_tool").write_text(waits + code(2))
    assert serving.call("my_tool") == 1
    serving.close()
    store.close()
    go.touch()
    checks_are_over()
    assert lives_without_a_connection(store)
    assert (serving.call("my_tool"), lives(store)) == (2, [1, 2])


def lives_without_a_connection(store: ExecutionStore) -> bool:
    """Whether no connection of the store is open."""
    pool = store.database._engine.pool
    return pool.checkedin() + pool.checkedout() == 0  # type: ignore[attr-defined]


@contextlib.contextmanager
def counted_errors() -> Iterator[list[str]]:
    """The errors that are logged meanwhile."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("rollguard").addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger("rollguard").removeHandler(handler)
