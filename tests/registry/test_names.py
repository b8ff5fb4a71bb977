"""What a tool may be called, on every method that takes a name."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import InvalidSetting, InvalidToolName, ToolFileError
from rollguard.registry import Folder
from rollguard.registry.deploy.actuators import CommandActuator
from rollguard.registry.folder.file_names import name_of, stem_of
from rollguard.registry.folder.swap_journal import entries_in, write_entry
from rollguard.settings import Settings
from tests.registry.helpers import checked_before, executions

BAD = [
    "",
    " ",
    "a\\b",
    "a\0b",
    "a\nb",
    "a b",
    "a+b",
    "%a",
    "naïve",
    "工具",
    "a" * 129,
    "a" * 100_000,
    "my_tool\n",
    None,
    7,
    b"my_tool",
    ["my_tool"],
    Path("my_tool"),
]

# A name, the name of its file, and the function that is the tool if none is marked.
GOOD = [
    ("a", "a.py", "a"),
    ("getUser", "getUser.py", "getUser"),
    ("my-tool", "my-tool.py", "my_tool"),
    ("git.status", "git.status.py", "git_status"),
    ("admin.tools/list-all", "admin.tools+list-all.py", "admin_tools_list_all"),
    ("1st", "1st.py", "_1st"),
    ("3.5/turbo", "3.5+turbo.py", "_3_5_turbo"),
    ("_private", "%_private.py", "_private"),
    ("__init__", "%__init__.py", "__init__"),
    ("-rf", "%-rf.py", "_rf"),
    (".hidden", "%.hidden.py", "_hidden"),
    (".", "%..py", "_"),
    ("..", "%...py", "__"),
    ("../../etc/passwd", "%..+..+etc+passwd.py", "______etc_passwd"),
    ("/tmp/evil", "%+tmp+evil.py", "_tmp_evil"),
    (".rollguard/spool.jsonl", "%.rollguard+spool.jsonl.py", "_rollguard_spool_jsonl"),
    ("my_tool.py", "my_tool.py.py", "my_tool_py"),
    ("import", "import.py", "import_"),
    ("con", "%con.py", "con"),
    ("NUL.x", "%NUL.x.py", "NUL_x"),
    ("console", "console.py", "console"),
    ("/" * 128, "%" + "+" * 128 + ".py", "_" * 128),
    ("a" * 128, "a" * 128 + ".py", "a" * 128),
]
NAMED = [name for name, _file, _function in GOOD]
NAMES = st.text("abcXYZ019_./-", min_size=1, max_size=128)


def tree(folder: Path) -> dict[str, float]:
    return {
        str(path): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".db" not in path.name
    }


def test_bad_names(registry: ToolRegistry, store: ExecutionStore, tmp_path: Path) -> None:
    """A name that no file may bear is an `InvalidToolName` everywhere; nothing is written and nothing is recorded."""
    registry.deploy("my_tool", "def my_tool(): ...\n")
    before = tree(tmp_path)
    uses: list[Callable[[Any], object]] = [
        registry.get_tool,
        registry.get_tool_definition,
        lambda name: registry.call(name, x=1),
        lambda name: registry.deploy(name, "def my_tool(): ...\n"),
        lambda name: registry.restore(name, 1),
        registry.keep_hand_edit,
    ]
    for name in BAD:
        for use in uses:
            with pytest.raises(InvalidToolName):
                use(name)
    assert tree(tmp_path) == before
    assert executions(store) == []
    assert list(store.versions.live_of_all()) == ["my_tool"]


async def test_bad_names_in_async_code(registry: ToolRegistry) -> None:
    """`acall` refuses the same names."""
    for name in BAD:
        with pytest.raises(InvalidToolName):
            await registry.acall(name)  # type: ignore[arg-type]


def test_good_names(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Each name that MCP allows can be deployed, called, recorded, described and restored, with a file of its own."""
    for name, file, function in GOOD:
        text = f"def {function}():\n    return 1\n"
        if name in ("git.status", "3.5/turbo", "import", ".."):  # of these a child process finds the function, too
            registry.deploy(name, text)
            registry.deploy(name, text.replace("return 1", "return 2"))
            registry.restore(name, 1)
        else:
            checked_before(tools_dir, [text], name)
            registry.deploy(name, text)
        assert (registry.call(name), (tools_dir / file).is_file()) == (1, True)
    assert {row["tool_name"]: row["version_number"] for row in executions(store)} == dict.fromkeys(NAMED, 1)
    assert registry.get_tool_definition("git.status")["name"] == "git.status"
    assert sorted(registry.descriptions) == sorted(NAMED)
    assert registry.problems == {}
    assert {path.name for path in tools_dir.iterdir() if path.is_file()} == {file for _name, file, _function in GOOD}


def test_a_new_file_has_the_name_that_it_stands_for(store: ExecutionStore, tools_dir: Path) -> None:
    """A file that is put into the folder is adopted under the name that its own name stands for."""
    (tools_dir / "repo+list.py").write_text("from rollguard import tool\n@tool\ndef anything():\n    return 1\n")
    (tools_dir / "git.status.py").write_text("def git_status():\n    return 2\n")
    registry = ToolRegistry(tools_dir, store)
    assert list(store.versions.live_of_all()) == ["git.status", "repo/list"]
    assert (registry.call("repo/list"), registry.call("git.status")) == (1, 2)
    (tools_dir / "git.status.py").write_text("def git_status():\n    return 3\n")
    registry.refresh()
    assert (registry.get_tool("git.status").function(), registry.call("git.status")) == (3, 3)
    assert len(store.versions.history("git.status")) == 2


def test_rolled_back_by_its_name(store: ExecutionStore, registry: ToolRegistry) -> None:
    """Monitoring, rollback and quarantine use the name; an interrupted swap is settled for it."""
    monitor = DeploymentMonitor(store, registry)
    name = "repo/git.status"
    for version in (1, 2):
        registry.deploy(name, f"def repo_git_status():\n    return {version}\n")
    session = monitor.start_monitoring(name, datetime.now(UTC))
    rollback = monitor.roll_back(name, reason="by hand", quarantine=True)
    assert (rollback.tool_name, rollback.to_version, registry.call(name)) == (name, 1, 1)
    assert [held.tool_name for held in store.quarantine.in_force()] == [name]
    assert monitor.get_session(session).status == "rolled_back"
    entry = write_entry(registry.folder.path, name, before=None, after="x", live=None)
    assert [each.tool_name for each in entries_in(registry.folder.path)] == [name]
    entry.remove()


def test_in_another_folder(store: ExecutionStore, registry: ToolRegistry, tmp_path: Path) -> None:
    """A folder on another machine follows a tool by its name."""
    there = ToolRegistry(tmp_path / "there", store)
    for version in (1, 2):
        registry.deploy("a/b.c", f"def a_b_c():\n    return {version}\n")
        if version == 1:
            (tmp_path / "there" / "a+b.c.py").write_bytes((registry.folder.path / "a+b.c.py").read_bytes())
    replica = there._replica
    assert replica is not None
    replica.catch_up(threading.Event())
    assert there.call("a/b.c") == 2


def test_what_a_command_gets(registry: ToolRegistry, store: ExecutionStore, tmp_path: Path) -> None:
    """A command gets the name as one argument, unchanged, and `{stem}` for a path that stays in its folder."""
    said = tmp_path / "said"
    script = "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))"
    actuator = CommandActuator([sys.executable, "-S", "-c", script, str(said), "{tool}", "/srv/{stem}.py"])
    name = "../-rf"
    ToolRegistry(registry.folder.path, store, actuators={name: actuator}).deploy(name, "any text")
    assert said.read_text() == repr([name, "/srv/%..+-rf.py"])


def test_settings_of_such_a_tool(tmp_path: Path) -> None:
    """A name with a dot or a slash stands in quotation marks in the settings; without them the error says so."""
    file = tmp_path / "rollguard.toml"
    file.write_text('[tools."git.status"]\nmin_executions = 20\n[tools."a/b".failure]\nkeys = ["error"]\n')
    settings = Settings.load(file, {})
    assert settings.tools["git.status"] == {"min_executions": 20}
    assert list(settings.failure_rules) == ["a/b"]
    file.write_text("[tools.git.status]\nmin_executions = 20\n")
    with pytest.raises(InvalidSetting, match=r'write \[tools\."git\.status"\]'):
        Settings.load(file, {})
    file.write_text('[tools."git.status"]\nmin_executions = -1\n')
    with pytest.raises(InvalidSetting, match=r'tools\."git\.status"\.min_executions'):
        Settings.load(file, {})


@given(name=NAMES, other=NAMES)
def test_a_file_has_one_name(name: str, other: str) -> None:
    """A name is read back from its file's name, two names have two files, and each is short and harmless."""
    stem = stem_of(name)
    assert name_of(stem) == name
    assert (stem_of(other) == stem) == (other == name)
    assert re.fullmatch(r"[%A-Za-z0-9][A-Za-z0-9_.+-]*", f"{stem}.py")
    assert len(stem) <= 129
    assert PureWindowsPath(f"{stem}.py").is_reserved() is False


@given(stem=st.text("ab%+_.-1 /\\", max_size=6) | st.text(max_size=40))
def test_a_name_has_one_file(stem: str) -> None:
    """Of the names that a file may have, only one stands for a tool's name."""
    name = name_of(stem)
    assert name is None or stem_of(name) == stem


@given(name=st.text(max_size=40) | NAMES)
def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """Whatever the name, the tool's file is in the folder itself, or there is none."""
    folder = Folder(tmp_path)
    try:
        path = folder.file(name)
    except InvalidToolName:
        return
    assert path.parent == folder.path
    assert os.path.basename(path) == f"{stem_of(name)}.py"  # noqa: PTH119 - of the text, not of what pathlib makes of it


def test_a_disk_that_ignores_case(tools_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that ignores case a name that differs by case only has no file, and is not written over the other."""
    real = os.stat

    def ignoring_case(path: Any, *args: Any, **options: Any) -> os.stat_result:
        found = {entry.lower(): entry for entry in os.listdir(tools_dir)}  # noqa: PTH208
        head, tail = os.path.split(os.fspath(path))
        return real(os.path.join(head, found.get(tail.lower(), tail)), *args, **options)  # noqa: PTH118

    Folder(tools_dir).swap("getUser", b"1")
    monkeypatch.setattr(os, "stat", ignoring_case)
    folder = Folder(tools_dir)
    assert (folder.read("getUser"), folder.read("getuser"), folder.stamp("GETUSER")) == (b"1", None, None)
    with pytest.raises(ToolFileError, match="differs only by case"):
        folder.swap("getuser", b"2")
    folder.remove("getuser")
    folder.swap("getUser", b"3")
    assert folder.read("getUser") == b"3"
