"""Help, docs and what is imported for them."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rollguard import ExecutionStore
from rollguard.cli import app as commands
from rollguard.cli import exits
from rollguard.cli.ingest import COLUMNS
from tests.cli.conftest import Shell

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
COMMANDS = sorted(commands.COMMANDS)
_FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_a_section_in_the_docs(empty: Shell, command: str) -> None:
    """Each command says what it does and takes --json and --config, and docs/cli.md has a section with an example."""
    said = empty.ok(command, "--help").out
    assert "--json" in said
    assert "--config" in said
    section = DOCS.partition(f"## `rollguard {command}`\n")[2].partition("\n## ")[0]
    assert f"$ rollguard {command}" in section


def test_docs_have_no_section_of_a_command_that_is_gone() -> None:
    """docs/cli.md describes exactly the commands there are."""
    assert sorted(re.findall(r"^## `rollguard (\w+)`$", DOCS, re.MULTILINE)) == COMMANDS


def test_examples_of_the_docs_run(empty: Shell) -> None:
    """The examples of docs/cli.md, run in order, end with the exit codes that it says they do."""
    ran = 0
    for language, name, content in _FENCE.findall(DOCS):
        if name:
            empty.write(name, content)
        if language != "console":
            continue
        for line, answer in re.findall(r"^\$ rollguard (.*)\n((?:(?!\$ ).*\n)*)", content, re.MULTILINE):
            exit_code = re.search(r"# exit code (\d+)$", line)
            done = empty.run(*shlex.split(line, comments=True))
            assert done.exit_code == (int(exit_code[1]) if exit_code else 0), (line, done.err)
            first = answer.partition("\n")[0]
            if first and not re.search(r"\d\d:\d\d", first):
                assert " ".join(first.split()) in " ".join(f"{done.out}{done.err}".split()), line
            ran += 1
    assert ran >= len(COMMANDS)


def test_help_names_the_exit_codes(empty: Shell) -> None:
    """`rollguard --help` and docs/cli.md list every exit code."""
    said = " ".join(empty.ok("--help").out.split())
    for number, meaning in exits.MEANINGS.items():
        assert f"{number} {meaning}" in said
        assert f"| {number} | " in DOCS


def test_help_imports_nothing_heavy() -> None:
    """`--help` does not wait for the database library, nor for the rest of Rollguard."""
    program = (
        "import sys; from rollguard.cli import main; main(['record', '--help']); "
        "heavy = ('sqlalchemy', 'alembic', 'asyncio', 'httpx2', 'rollguard.app', 'rollguard.judge'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert out.splitlines()[-1] == "[]"


def test_status_imports_what_it_needs(shell: Shell) -> None:
    """`status` on SQLite waits for no other database, no migration, no loop, and nothing that serves tools."""
    shell.ok("tools")
    program = (
        "import sys; from rollguard.cli import main; main(['status']); "
        "heavy = ('sqlalchemy.dialects.postgresql', 'alembic', 'rich', 'rollguard.compat', "
        "'rollguard.registry.registry', 'rollguard.monitor', 'rollguard.loop.autonomous_loop', "
        "'rollguard.cli.commands.call'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=shell.folder)
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(commands.ALIASES))
def test_former_names_still_work(shell: Shell, name: str) -> None:
    """A name that a command had before is hidden, and still runs it."""
    shell.deploy(1)
    assert shell.ok(name, *(["my_tool"] if name == "history" else [])).out
    assert f"│ {name} " not in shell.ok("--help").out


def test_csv_columns_are_what_the_store_takes() -> None:
    """What a CSV file may name as columns is what the store takes."""
    taken = inspect.signature(ExecutionStore.store_tool_execution).parameters
    assert set(COLUMNS) == set(taken) - {"self"}
