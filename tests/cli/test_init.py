"""`rollguard init`: a project to begin with."""

from __future__ import annotations

import re

from rollguard import ExecutionStore
from rollguard.judge import Rules
from rollguard.settings import Settings
from tests.cli.conftest import Shell


def test_init_writes_settings_and_a_tool_that_works(empty: Shell) -> None:
    """After `init` the example tool can be called at once."""
    said = empty.ok("init")
    assert "wrote rollguard.toml" in said.out
    assert "rollguard call calculate" in said.out
    assert empty.ok("call", "calculate", "expression=(2 + 3) * 4").json == 20


def test_init_overwrites_nothing(empty: Shell) -> None:
    """A file that exists stays as it is, and `init` says so."""
    empty.write("rollguard.toml", "# mine\n")
    said = empty.ok("init", "--json").json
    assert said["kept"] == ["rollguard.toml"]
    assert said["written"] == ["tools/calculate.py"]
    assert (empty.folder / "rollguard.toml").read_text() == "# mine\n"
    assert "kept  rollguard.toml" in empty.ok("init").out


def test_init_in_another_folder_says_to_go_there(empty: Shell) -> None:
    """`init FOLDER` makes the folder, and its advice begins with going there."""
    said = empty.ok("init", "deep/er project")
    assert (empty.folder / "deep/er project/tools/calculate.py").is_file()
    assert "cd 'deep/er project'" in said.out


def test_written_settings_state_the_defaults(empty: Shell) -> None:
    """Each setting that is shown as a comment is a setting that exists, with its default."""
    empty.ok("init")
    file = empty.folder / "rollguard.toml"
    text = file.read_text()
    assert Settings.load(file, {}).monitor == Settings().monitor
    above_tools = text[: text.index("# A tool may override")]
    file.write_text(re.sub(r"^# (\w+ = )", r"\1", above_tools, flags=re.MULTILINE))
    shown, default = Settings.load(file, {}), Settings()
    for section in ("monitor", "watch", "record", "notify"):
        assert getattr(shown, section) == getattr(default, section)
        assert getattr(shown, section) is not None
    assert [name for name in Rules().to_dict() if name not in text] == []
    file.write_text(re.sub(r"^# (\[tools|\w+ = )", r"\1", text, flags=re.MULTILINE))
    assert Settings.load(file, {}).tools == {"calculate": {"regression_threshold": 0.10}}
    assert Settings.load(file, {}).failure_rules["calculate"]({"ok": False})


def test_settings_are_found_from_a_folder_below(shell: Shell) -> None:
    """A command run in a sub-folder uses the rollguard.toml above it."""
    below = shell.folder / "a/b"
    below.mkdir(parents=True)
    process = shell.start("tools", "--json", cwd=below)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "calculate" in out


def test_a_store_that_a_program_made_needs_no_settings(empty: Shell) -> None:
    """Without settings the commands use the defaults where a program did; elsewhere they make no database."""
    refused = empty.run("status")
    assert (refused.exit_code, "there is no rollguard.db here" in refused.err) == (1, True)
    assert list(empty.folder.iterdir()) == []
    ExecutionStore("sqlite:///rollguard.db").close()
    assert "No deployment is monitored" in empty.ok("status").out
