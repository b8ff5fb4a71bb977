"""What the tests of the registry share."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.sandbox import ToolCheck
from rollguard.store import digest
from rollguard.store.schema import tool_executions

OPEN: list[ExecutionStore] = []
"""The store of the tools that record themselves."""


def executions(store: ExecutionStore, tool_name: str | None = None) -> list[dict[str, Any]]:
    """Every stored execution in the order of writing, parameters and results decoded."""
    query = sa.select(tool_executions).order_by(tool_executions.c.id)
    if tool_name is not None:
        query = query.where(tool_executions.c.tool_name == tool_name)
    with store.database.read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    for row in rows:
        for column in ("parameters", "result"):
            if row[column] is not None:
                row[column] = json.loads(row[column])
    return rows


def checks_are_over() -> None:
    """Wait until no process of this one checks new code in the background any more."""
    for thread in threading.enumerate():
        if thread.name.startswith("rollguard-check-"):
            thread.join()


def checked_before(folder: Path, codes: Iterable[str], name: str = "my_tool") -> None:
    """Note on this machine that these codes load, as their deployments did."""
    checks = LoadChecks(folder)
    for code in codes:
        checks.keep(name, digest(code.encode()), ToolCheck(loads=True))


_started: list[subprocess.Popen[str]] = []


def python(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """A real Python process that runs `script`; it lives no longer than the test that started it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    _started.append(process)
    return process


def end_processes() -> None:
    """End what a test left running when it failed, or the next test would be told of it too."""
    while _started:
        process = _started.pop()
        process.kill()  # nothing where it has ended
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what it was sent and did not read
                    pipe.close()


def finished(process: subprocess.Popen[str], timeout: float = 300) -> str:
    """What the process printed, once it has ended well."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 0, err
    return out
