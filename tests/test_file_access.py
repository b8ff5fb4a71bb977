"""Files that Rollguard creates are readable by their owner alone, unless the settings say otherwise."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollguard import Rollguard, Settings
from rollguard.cli.doctor import examine
from rollguard.cli.findings import Finding, Health
from rollguard.errors import InvalidSetting
from rollguard.model.file_access import FileAccess
from rollguard.registry.folder.swap_journal import write_entry
from tests.cli.conftest import Shell, empty  # noqa: F401 - a fixture
from tests.conftest import code


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """The umask that most systems have: others may read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def settings(folder: Path, access: FileAccess) -> Settings:
    return Settings(database=f"sqlite:///{folder}/own.db", tools_dir=folder / "tools", file_access=access)


@pytest.fixture
def used(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rollguard]:
    """A system that has written each kind of file."""
    with Rollguard(settings(tmp_path, request.param)) as guard:
        guard.deploy("my_tool", code(1))
        guard.registry.recorder.spool.append(guard.store.executions.row(tool_name="t", success=True))
        guard.registry.recorder.refused.append(guard.store.executions.row(tool_name="t", success=True))
        yield guard


@pytest.mark.parametrize("used", [FileAccess.OWNER], indirect=True)
def test_git_ignores_the_state(used: Rollguard, tmp_path: Path) -> None:
    """`git add` takes the tools and leaves what Rollguard keeps beside them, such as the parameters of calls."""
    assert (tmp_path / "tools/.rollguard/spool.jsonl").exists()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    listing = ["git", "ls-files", "--others", "--exclude-standard", "tools"]
    found = subprocess.run(listing, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert found.split() == ["tools/my_tool.py"]


@pytest.mark.parametrize(
    ("used", "file", "folder"),
    [(FileAccess.OWNER, 0o600, 0o700), (FileAccess.GROUP, 0o660, 0o770), (FileAccess.UMASK, 0o644, 0o755)],
    indirect=["used"],
)
def test_modes(used: Rollguard, tmp_path: Path, file: int, folder: int) -> None:
    """The database with its -wal and -shm, the spool, its locks and the state have the mode of the setting."""
    state = tmp_path / "tools" / ".rollguard"
    entry = write_entry(
        used.registry.folder.path, "my_tool", before=None, after="0", live=None, access=used.registry.folder.access
    )
    folders = [state, *(path for path in state.rglob("*") if path.is_dir())]
    own = [*tmp_path.glob("own.db*"), *(path for path in state.rglob("*") if path.is_file()), entry.path]
    assert {path.name: mode(path) for path in own} == {path.name: file for path in own}
    assert {"own.db", "own.db-wal", "own.db-shm", "spool.jsonl", "spool.lock", "followed.json"} <= {p.name for p in own}
    assert {path.name: mode(path) for path in folders} == {path.name: folder for path in folders}
    entry.remove()


@pytest.mark.parametrize("used", [FileAccess.OWNER], indirect=True)
def test_files_of_tools_are_the_users(used: Rollguard) -> None:
    """A new tool's file has the mode that the umask leaves, and a replaced one keeps its own."""
    file = used.registry.folder.file("my_tool")
    assert mode(file) == 0o644
    os.umask(0o027)
    used.deploy("other", code(1, "other"))
    assert mode(used.registry.folder.file("other")) == 0o640
    file.chmod(0o604)
    used.deploy("my_tool", code(2))
    assert mode(file) == 0o604


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """A database that others may read stays so; the doctor says it."""
    database = tmp_path / "own.db"
    database.touch(0o644)
    with Rollguard(settings(tmp_path, FileAccess.OWNER)):
        assert mode(database) == 0o644


def _found(examined: Settings) -> list[Finding]:
    return [finding for finding in examine(examined, datetime.now(UTC)) if finding.check == "files"]


@pytest.mark.parametrize("used", [FileAccess.OWNER], indirect=True)
def test_the_doctor_says_what_others_may_read(used: Rollguard, tmp_path: Path) -> None:
    """The doctor names files that others may read or change, and how to end it; a setting may allow it."""
    assert [finding.health for finding in _found(used.settings)] == [Health.OK]
    assert "of 1 file of tools, 1 may be read by others" in _found(used.settings)[0].says
    for path in (tmp_path / "own.db", tmp_path / "tools" / ".rollguard" / "spool.jsonl"):
        path.chmod(0o640)
    used.registry.folder.file("my_tool").chmod(0o664)
    read, changed = _found(used.settings)
    assert "own.db, " in read.says
    assert "spool.jsonl" in read.says
    assert read.fix is not None
    assert read.fix.startswith(f"chmod go= {tmp_path}/own.db ")
    assert "may change the code of" in changed.says
    assert [finding.health for finding in _found(settings(tmp_path, FileAccess.GROUP))] == [Health.OK]


def test_settings_with_secrets_are_private(empty: Shell) -> None:  # noqa: F811 - the fixture
    """`init` writes settings for their owner alone, and the doctor names a file with secrets that others may read."""
    empty.ok("init")
    file = empty.folder / "rollguard.toml"
    assert mode(file) == 0o600
    assert mode(empty.folder / "tools" / "calculate.py") == 0o644
    empty.ok("tools")
    file.chmod(0o644)
    assert "warning  files" not in empty.ok("doctor").out
    file.write_text(file.read_text().replace("# webhook_urls = []", 'webhook_urls = ["https://example.com/hook"] #'))
    assert "rollguard.toml" in next(line for line in empty.ok("doctor").out.splitlines() if "warning  files" in line)


def test_an_unknown_access_is_refused(tmp_path: Path) -> None:
    """A value that is none of the three is refused with them."""
    (tmp_path / "rollguard.toml").write_text('file_access = "all"')
    with pytest.raises(InvalidSetting, match=r'file_access: .all. is not one of "owner", "group", "umask"'):
        Settings.load(tmp_path / "rollguard.toml", {})
    environment = {"ROLLGUARD_CONFIG": "", "ROLLGUARD_FILE_ACCESS": "group"}
    assert Settings.load(None, environment).file_access is FileAccess.GROUP
