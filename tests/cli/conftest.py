"""The command line as a person uses it: words in, exit code and two streams out, in a folder of one's own."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rollguard.cli import main
from tests.conftest import code
from tests.processes import Process

# A process builds the application for one command. Here once is enough.
typer.main.get_command = functools.cache(typer.main.get_command)


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON document that it must be."""
        return json.loads(self.out)


class Shell:
    """A folder and an environment to run commands in."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = captured

    def run(self, *words: object, stdin: str | bytes = b"") -> Ran:
        """Run a command in this process."""
        before, sys.stdin = sys.stdin, _stdin(stdin)
        self._captured.readouterr()
        try:
            exit_code = main([str(word) for word in words])
        finally:
            sys.stdin = before
        out, err = self._captured.readouterr()
        assert "Traceback" not in err
        return Ran(exit_code, out, err)

    def ok(self, *words: object, stdin: str | bytes = b"") -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*words, stdin=stdin)
        assert ran.exit_code == 0, ran.err
        return ran

    def start(self, *words: object, **options: Any) -> Process:
        """Start a command as a process of its own."""
        usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.folder}
        return Process("-m", "rollguard", *words, **{**usual, **options})

    def write(self, name: str, content: str | bytes) -> Path:
        """Make a file in the folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def deploy(self, version: int, *more: object, tool: str = "my_tool") -> dict[str, Any]:
        """Deploy one of the tests' versions of a tool."""
        return dict(self.ok("deploy", "-", "--tool", tool, "--json", *more, stdin=code(version, tool)).json)

    def calls(self, successes: int, failures: int, *, tool: str = "my_tool") -> None:
        """Record calls that are made now."""
        lines = [json.dumps({"tool_name": tool, "success": i < successes}) for i in range(successes + failures)]
        self.ok("record", "--file", "-", stdin="\n".join(lines))

    def executions(self) -> int:
        """How many executions of `my_tool` lie before a deployment made now."""
        session = self.deploy(999)["session_id"]
        return int(self.ok("health", "my_tool", "--session", session, "--json").json["baseline"]["total_executions"])


def _stdin(content: str | bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content.encode() if isinstance(content, str) else content), encoding="utf-8")


def read_until(stream: Any, words: str) -> str:
    """The stream's line that holds the words; it must come before the test's deadline."""
    for line in stream:
        if words in line:
            return str(line)
    raise AssertionError(f"the stream ended without {words!r}")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty folder, with nothing of Rollguard in its environment."""
    for variable in [name for name in os.environ if name.startswith("ROLLGUARD_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "120")
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Shell(folder, capsys)


@pytest.fixture
def shell(empty: Shell) -> Shell:
    """A shell where `rollguard init` was run."""
    empty.ok("init")
    return empty


@pytest.fixture
def shell_on(empty: Shell, url: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The same on each database."""
    empty.ok("init")
    monkeypatch.setenv("ROLLGUARD_DATABASE", url)
    return empty


@pytest.fixture
def with_env(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Sets a variable of the environment until the test ends."""
    return monkeypatch.setenv
