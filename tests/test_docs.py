"""The documentation is true: its code runs, its settings load, each row of its error tables is an error."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import rollguard.errors
from rollguard import AutonomousLoop, DeploymentMonitor, ExecutionStore, Investigator, Settings, ToolRegistry
from tests.conftest import code

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
OWN_TESTS = {
    "agents.md",
    "cli.md",
    "tools.md",
    "sql.md",
}  # pages whose blocks are run by the tests of what they describe
AGENTS_NOT_SHOWN = {"tools/convert_time.py", "offline_models.py"}


def _blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in FENCE.findall(page.read_text()) if name == language]


def _table(page: Path, heading: str) -> list[list[str]]:
    section = page.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


ERRORS = ROOT / "docs" / "errors.md"


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name not in OWN_TESTS and _blocks(p, "python")], ids=lambda p: p.name
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of a page runs from top to bottom in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["docs"])
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in _blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
    if "store" in namespace:
        namespace["store"].close()


def test_the_page_about_agents_shows_the_examples() -> None:
    """Its Python is that of `examples/agents`, which `make agents` runs, and its counts of lines are right."""
    page, examples = ROOT / "docs" / "agents.md", ROOT / "examples" / "agents"
    files = {file.relative_to(examples).as_posix(): file.read_text() for file in examples.rglob("*.py")}
    shown = _blocks(page, "python")
    assert set(shown) == {files[name] for name in files if name not in AGENTS_NOT_SHOWN}
    for program, named, all_lines in _table(page, "Lines"):
        name = program.partition("`")[2].partition("`")[0]
        code_lines = [line for line in files[name].partition('"""\n\n')[2].splitlines() if line.strip()]
        naming = [
            line for line in code_lines if name.startswith("tools/") or re.search(r"[Rr]ollguard|\bguard\b", line)
        ]
        assert (len(naming), len(code_lines)) == (int(named), int(all_lines)), name


@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(p, "toml")], ids=lambda p: p.name)
def test_toml_blocks_are_settings(page: Path, tmp_path: Path) -> None:
    """The settings that a page shows are accepted."""
    for number, block in enumerate(_blocks(page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        Settings.load(file, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file of the project."""
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(("expression", "error", "says"), _table(ERRORS, "Python"), ids=lambda c: c[:60])
def test_errors_in_python(
    expression: str,
    error: str,
    says: str,
    store: ExecutionStore,
    registry: ToolRegistry,
    monitor: DeploymentMonitor,
) -> None:
    """Each input of the table raises the error it names, with those words, and writes nothing."""
    registry.deploy("my_tool", code(1))
    names = {
        "store": store,
        "registry": registry,
        "monitor": monitor,
        "datetime": datetime,
        "ExecutionStore": ExecutionStore,
        "DeploymentMonitor": DeploymentMonitor,
        "AutonomousLoop": AutonomousLoop,
        "Investigator": Investigator,
        "rollguard": rollguard,
        "tool": rollguard.tool,
    }
    with pytest.raises(getattr(rollguard.errors, error.strip("`"))) as raised:
        eval(expression.strip("`"), names)
    assert says in str(raised.value)
    assert store.executions.tool_names() == []
    assert registry.folder.file("my_tool").read_text() == code(1)
    live = store.versions.live("my_tool")
    assert live is not None
    assert live.version_number == 1


@pytest.mark.parametrize(("toml", "says"), _table(ERRORS, "Settings"), ids=lambda c: c[:60])
def test_errors_in_settings(toml: str, says: str, tmp_path: Path) -> None:
    """Each setting of the table is refused with those words."""
    (tmp_path / "rollguard.toml").write_text(toml.strip("`"))
    with pytest.raises(rollguard.errors.InvalidSetting) as raised:
        Settings.load(tmp_path / "rollguard.toml", {})
    assert says in str(raised.value)


def test_the_table_of_databases_names_real_errors() -> None:
    """Each state of the database in the table has an error of that name."""
    rows = _table(ERRORS, "The database")
    assert len(rows) == 10
    for _state, error, _says in rows:
        assert issubclass(getattr(rollguard.errors, error.strip("`")), rollguard.errors.StoreError)


def test_the_settings_page_shows_the_defaults(tmp_path: Path) -> None:
    """The values that the settings page shows are the defaults, but for the tool's own table."""
    (block,) = _blocks(ROOT / "docs" / "settings.md", "toml")
    (tmp_path / "shown.toml").write_text(block.partition("[tools.payment]")[0])
    (tmp_path / "empty.toml").write_text("")
    shown, empty = (Settings.load(tmp_path / f"{name}.toml", {}) for name in ("shown", "empty"))
    for name in ("database", "tools_dir", "monitor", "watch", "record", "notify", "sandbox"):
        assert getattr(shown, name) == getattr(empty, name)
