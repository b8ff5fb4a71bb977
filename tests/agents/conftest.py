"""Copies of the example programs, each run as a user runs it, with what it records in a fresh store."""

from __future__ import annotations

import importlib
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "agents"


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs a program of a copy of `examples/agents` in that copy, and returns its names."""
    importlib.import_module("mcp.client.stdio")  # it keeps the sys.stderr of its import, which must not be a test's
    folder = tmp_path / "agents"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__", ".rollguard", "*.db*"))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("ROLLGUARD_DATABASE", url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # the MCP servers
    guards = []

    def program(name: str, run_name: str = "program") -> dict[str, Any]:
        names = runpy.run_path(str(folder / name), run_name=run_name)
        guards.append(names["guard"])
        return names

    yield program
    for guard in guards:
        guard.close()
    for module in ("offline_models", "mcp_sessions"):
        sys.modules.pop(module, None)
