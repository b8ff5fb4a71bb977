"""The documentation is true: its code runs, its settings load, each row of its error tables is an error."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
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


@functools.cache
def generated() -> dict[str, str]:
    """The pages that `make docs` writes, by the name of their file."""
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    return {name: text() for name, text in made.items()}


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
        assert (page.parent / target).exists() or Path(target).name in generated(), f"{page.name}: {target}"


@pytest.mark.parametrize(("expression", "error", "says"), _table(ERRORS, "Python"), ids=lambda c: c[:60])
@pytest.mark.sqlite_first
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
    assert len(rows) == 11
    for _state, error, _says in rows:
        assert issubclass(getattr(rollguard.errors, error.strip("`")), rollguard.errors.StoreError)


def test_the_page_of_errors_has_every_error() -> None:
    """Each public class of `rollguard.errors` is on the page."""
    page, classes = ERRORS.read_text("utf-8"), inspect.getmembers(rollguard.errors, inspect.isclass)
    names = [name for name, each in classes if issubclass(each, rollguard.errors.RollguardError)]
    assert [name for name in names if f"`{name}`" not in page and f"`rollguard.{name}`" not in page] == []


def test_the_settings_page_shows_the_defaults(tmp_path: Path) -> None:
    """The values that the settings page shows are the defaults, but for the tool's own table."""
    (block,) = _blocks(ROOT / "docs" / "settings.md", "toml")
    (tmp_path / "shown.toml").write_text(block.partition("[tools.payment]")[0])
    (tmp_path / "empty.toml").write_text("")
    shown, empty = (Settings.load(tmp_path / f"{name}.toml", {}) for name in ("shown", "empty"))
    for name in ("database", "tools_dir", "monitor", "watch", "record", "notify", "sandbox"):
        assert getattr(shown, name) == getattr(empty, name)


def test_the_reference_is_made_from_the_program() -> None:
    """Each command and each setting is on the page that is made of them."""
    from rollguard.cli.app import COMMANDS
    from rollguard.judge import Rules

    assert all(f"### rollguard {name}\n" in generated()["commands.md"] for name in COMMANDS)
    rules = [field.name for field in dataclasses.fields(Rules)]
    assert all(f"| `{name}` |" in generated()["settings.md"] for name in [*rules, "check_interval_seconds", "port"])


def test_every_page_has_its_place_in_the_site() -> None:
    """The navigation of the site names each page of the documentation, and none that is not there."""

    def named(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for part in entry.values() if isinstance(entry, dict) else entry:
                yield from named(part)

    nav = set(named(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} | {
        f"reference/{name}" for name in generated()
    }
    assert nav == {page for page in pages if not page.startswith("decisions/")} | {"decisions/index.md"}


@pytest.mark.long
def test_the_site_is_built(tmp_path: Path) -> None:
    """The site is built without a complaint; its links lead somewhere in it, and the API has its docstrings."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".rollguard"))
    shutil.copy(ROOT / "zensical.toml", copy)
    for name, text in generated().items():
        (copy / "docs" / "reference" / name).write_text(text, "utf-8")
    zensical = Path(sys.executable).parent / "zensical"
    built = subprocess.run(
        [zensical, "build", "--clean", "--strict"], cwd=copy, capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stdout + built.stderr
    site = copy / "site"
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="?([^"\s>#?]+)', page.read_text()):
            if re.match(r"[a-z]+:|//|/", target):
                continue
            found = (page.parent / target).resolve()
            assert found.exists(), f"{page.relative_to(site)}: {target}"
    assert "Deploy code and start monitoring it, in one transaction." in (site / "reference/api/index.html").read_text()
