"""What watches, decides, restores and reports never runs a tool's code, and never waits for it."""

from __future__ import annotations

import gc
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, Rollguard, Settings, ToolRegistry
from rollguard.errors import ToolLoadError
from rollguard.registry import Folder
from rollguard.registry.folder.swap_journal import entries_in
from rollguard.registry.serve.live_tools import LiveTools
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.sandbox import ToolCheck
from rollguard.store import digest
from tests.conftest import NOW, Guard, code
from tests.notify.test_dispatcher import Channel
from tests.registry import hostile
from tests.registry.helpers import checks_are_over, executions
from tests.watching import check_all, recover


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Names the hostile files that were run."""
    return tmp_path / "ran"


def test_hostile_files_are_enough() -> None:
    """There are at least 43 of them."""
    assert hostile.COUNT >= 43


def test_hostile_files_beside_a_deployment(store: ExecutionStore, tools_dir: Path, ran: Path) -> None:
    """With hostile files in the folder a bad deployment is found, rolled back and notified, and none of them is run."""
    hostile.put_all(tools_dir, ran)
    kept = Channel("kept")
    registry = ToolRegistry(tools_dir, store=store)
    monitor = DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[kept])
    guard = Guard(store, registry, monitor)
    guard.deploy(1)
    guard.calls(50, 0, start=NOW - timedelta(days=1))
    guard.deploy(2)
    session = guard.watch()
    guard.calls(10, 10, start=NOW)
    (result,) = check_all(monitor, now=NOW + timedelta(hours=1))
    assert result["rollback_performed"] is True
    assert (tools_dir / "my_tool.py").read_text() == code(1)
    assert registry.call("my_tool", x=1) == 2
    assert guard.session(session).status == "rolled_back"
    assert [event.tool_name for event in kept.events] == ["my_tool"]
    assert recover(monitor, now=NOW) == []
    assert set(registry.refresh()) == {*hostile.READ, *hostile.PLACED, *hostile.MISNAMED}
    assert "my_tool" in registry.descriptions
    assert not ran.exists()
    live = set(store.versions.live_of_all())
    assert live >= {"my_tool", *hostile.RUN}  # they may be tools, and each has a version to come back to


def test_hostile_files_are_run_in_children_only(tmp_path: Path, tools_dir: Path, ran: Path) -> None:
    """Asked for every tool, a process serves those that load, and lives on beside those that do not."""
    hostile.put_all(tools_dir, ran)
    (tools_dir / "good.py").write_text(code(1, "good"))
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        LoadChecks(tools_dir).keep("good", digest(code(1, "good").encode()), ToolCheck(loads=True))
        serving = LiveTools(Folder(tools_dir), store, checks=LoadChecks(tools_dir, deadline=0.4))
        assert serving.serve("good").tool is not None
        before = _descriptors()
        assert list(serving.load_all()) == ["good"]
        assert set(serving.problems()) >= set(hostile.RUN)
        assert _descriptors() == before
        assert {Path(line).stem for line in ran.read_text().splitlines()} == set(hostile.RUN)
        assert "did not load within 0.4 s" in serving.problems()["hangs"]
        assert "exit code 0" in serving.problems()["exits_well"]
        assert "SIGSEGV" in serving.problems()["segfaults"]


def test_new_bytes_that_hang(store: ExecutionStore, tools_dir: Path) -> None:
    """While new code hangs in its child, nobody waits: the last version that loaded is served, then and afterwards."""
    registry = ToolRegistry(tools_dir, store=store, check_every=0)
    registry.deploy("my_tool", code(1))
    assert registry.call("my_tool") == 1
    registry._live_tools.admission.checks._deadline = 0.3
    (tools_dir / "my_tool.py").write_text("import time\ntime.sleep(1000)\ndef my_tool(): ...\n")
    assert [registry.call("my_tool") for _ in range(3)] == [1] * 3
    assert registry.refresh() == {}  # not known yet
    checks_are_over()
    assert registry.call("my_tool") == 1
    assert list(registry.problems) == ["my_tool"]
    with pytest.raises(ToolLoadError, match="did not load within"):
        registry.get_tool("my_tool")
    registry.restore("my_tool", 1)
    assert registry.problems == {}
    assert {row["version_number"] for row in executions(store)} == {1}


def test_what_only_running_tells(store: ExecutionStore, tools_dir: Path, ran: Path) -> None:
    """A file whose tree does not tell is listed and not run until somebody deploys it; one without a tool never is."""
    says = f"with open({str(ran)!r}, 'a') as file: file.write('x')\n"
    (tools_dir / "made.py").write_text(f"{says}def make(): return print\nmade = make()\n")
    (tools_dir / "notes.py").write_text(f"{says}print('made')\n")
    registry = ToolRegistry(tools_dir, store=store)
    assert registry.get_all_tools() == {}
    for name in ("made", "notes"):
        with pytest.raises(ToolLoadError):
            registry.call(name)
    assert "deploy it, if it is a tool" in registry.problems["made"]
    assert "no tool in it" in registry.problems["notes"]
    assert store.versions.live_of_all() == {}
    with pytest.raises(ToolLoadError, match="no tool in it"):
        registry.deploy("notes", (tools_dir / "notes.py").read_text())
    assert not ran.exists()
    registry.deploy("made", (tools_dir / "made.py").read_text())
    assert registry.call("made") is None
    assert list(registry.problems) == ["notes"]


def test_what_loads_is_known_to_the_next_process(store: ExecutionStore, tools_dir: Path) -> None:
    """A check is kept on the machine, so a process that starts later runs no child for the same code."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", code(1))
    with pytest.raises(ToolLoadError, match="ZeroDivisionError"):
        registry.deploy("my_tool", "1 / 0\ndef my_tool(): ...\n")
    later = LoadChecks(tools_dir)
    assert later.known("my_tool", digest(code(1).encode())) == ToolCheck(loads=True)
    failed = later.known("my_tool", digest(b"1 / 0\ndef my_tool(): ...\n"))
    assert failed is not None
    assert not failed.loads
    kept = tools_dir / ".rollguard/loads/my_tool.json"
    for damaged in (b"", b"[]", b"[" * 100_000, b'{"interpreter": "another"}', b"\xff"):
        kept.write_bytes(damaged)
        assert LoadChecks(tools_dir).known("my_tool", digest(code(1).encode())) is None
    registry.close()
    assert ToolRegistry(tools_dir, store=store).call("my_tool") == 1


def test_what_does_not_load_is_known_until_a_module_changes(
    tools_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that come and go beside the modules, as those of a database do, are no reason to run a child again."""
    project, broken = tmp_path / "project", digest(b"1 / 0")
    project.mkdir()
    monkeypatch.syspath_prepend(project)
    (project / "helper.py").write_text("")
    LoadChecks(tools_dir).keep("my_tool", broken, ToolCheck(loads=False, error="ZeroDivisionError"))

    def known() -> bool:
        return LoadChecks(tools_dir).known("my_tool", broken) is not None

    (project / "rollguard.db-wal").touch()
    (project / "__pycache__").mkdir()
    assert known()
    (project / "package").mkdir()
    assert not known()
    (project / "package").rmdir()
    assert known()
    os.utime(project / "helper.py", ns=(1, 1))
    assert not known()


def test_what_was_read_is_kept(store: ExecutionStore, tools_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later process parses no file that an earlier one has adopted; a damaged note is made anew."""
    (tools_dir / "my_tool.py").write_text('def my_tool():\n    """Says."""\n')
    ToolRegistry(tools_dir, store=store)
    kept = tools_dir / ".rollguard/forms.json"
    with monkeypatch.context() as patch:
        patch.setattr("rollguard.registry.folder.readings.form_of", None)
        registry = ToolRegistry(tools_dir, store=store, adopt=False)
        assert registry.problems == {}
        assert registry.descriptions["my_tool"][1] == "Says."
    for damaged in (b"", b"[]", b"[" * 100_000, b'{"by": 1, "forms": 2}', b"\xff"):
        kept.write_bytes(damaged)
        assert ToolRegistry(tools_dir, store=store).problems == {}


def test_the_definition_of_a_class_is_kept(store: ExecutionStore, tools_dir: Path) -> None:
    """What a class says of itself when it runs is known without running it, from the deployment's check."""
    registry = ToolRegistry(tools_dir, store=store)
    own = "class T:\n    def execute(self): ...\n    def get_tool_definition(self):\n        return {0}\n"
    registry.deploy("told", own.format("dict(description='Tells.')"))
    registry.deploy("literal", own.format("{'description': 'Says.'}"))
    registry.deploy("fails", own.format("1 / 0"))
    found = {name: description for name, (_hash, description) in registry.descriptions.items()}
    assert found == {"told": "Tells.", "literal": "Says.", "fails": ""}


# --- swap notes, outages, descriptors --------------------------------------------------------------------------------


def test_bad_swap_notes_stop_no_other(guard: Guard, tools_dir: Path) -> None:
    """What is no entry of a swap although it is named like one neither stops nor delays the settling of the others."""
    guard.deploy(1)
    bad = [tools_dir / f".rollguard.swap.{name}" for name in ("other.1", "other.2", "other.3", "no tool.1", "other.4")]
    bad[0].mkdir()
    os.mkfifo(bad[1])
    bad[2].symlink_to("nowhere")
    bad[3].write_text("{}")
    bad[4].write_text("[" * 100_000)
    (tools_dir / "my_tool.py").write_text(code(2))
    guard.store.versions.add("my_tool", code(2).encode(), kind=None, created_by="x", reason=None, now=NOW)
    live = guard.store.versions.live("my_tool")
    entry = {"before": digest(code(1).encode()), "after": digest(code(2).encode()), "live": live.deployment_id}
    (tools_dir / ".rollguard.swap.my_tool.1").write_text(json.dumps(entry))
    ToolRegistry(tools_dir, store=guard.store)
    assert (tools_dir / "my_tool.py").read_text() == code(1)
    assert entries_in(tools_dir) == []
    guard.deploy(3)
    assert guard.registry.call("my_tool") == 3


@pytest.mark.parametrize("database", ["sqlite:///{folder}/gone/rollguard.db", "postgresql://me@127.0.0.1:1/db"])
def test_starting_while_the_database_is_away(tmp_path: Path, tools_dir: Path, database: str) -> None:
    """A process that starts while the database is away serves its tools; their calls wait until it is back."""
    (tools_dir / "my_tool.py").write_text(code(1))
    settings = Settings.load(
        None, {"ROLLGUARD_DATABASE": database.format(folder=tmp_path), "ROLLGUARD_TOOLS_DIR": str(tools_dir)}
    )
    with Rollguard(settings) as guard:
        assert guard.registry.call("my_tool", x=5) == 6
        assert guard.registry.refresh() == {}
        guard.registry.recorder.empty()
        assert guard.registry.recorder.spool.pending
        if "sqlite" in database:
            (tmp_path / "gone").mkdir()
            assert guard.registry.recorder.flush() == 1
            guard.registry.refresh()
            assert list(guard.store.versions.live_of_all()) == ["my_tool"]
            assert [row["result"] for row in executions(guard.store)] == [6]


def _descriptors() -> list[str]:
    """What this process has open, without the connections of the store's pool."""
    gc.collect()
    found = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    kinds = [path.partition(":[")[0] for path in found]
    return sorted(kind for kind in kinds if "rollguard.db" not in kind and "/proc/" not in kind)


def test_no_descriptors_are_left(store: ExecutionStore, tools_dir: Path) -> None:
    """Deploying, calling, failing and closing leave no descriptor open."""

    def once(number: int) -> None:
        registry = ToolRegistry(tools_dir, store=store)
        registry.deploy("my_tool", code(number))
        assert registry.call("my_tool") == number
        with pytest.raises(ToolLoadError):
            registry.deploy("my_tool", f"{number} / 0\ndef my_tool(): ...\n")
        registry.close()

    once(1)
    before = _descriptors()
    for number in range(2, 6):
        once(number)
    assert _descriptors() == before
