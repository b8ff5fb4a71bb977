"""Deployments and rollbacks survive a SIGKILL, a failing disk and a failing database at every step.

`make test` strikes every so many steps, beginning with another one each time; `ROLLGUARD_FAULTS=all` strikes each one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PostgresServer
from tests.faults.stories import STORIES

ALL = os.environ.get("ROLLGUARD_FAULTS") == "all"
STRIDES = {"kill": 19, "error": 31, "away": 43}  # prime, so that over some runs all steps have their turn


@pytest.mark.timeout(3_600 if ALL else 300)
@pytest.mark.parametrize("story", STORIES)
def test_struck_at_any_step(
    story: str,
    dialect: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever step is struck, what was being done happens once and whole or not at all, and file and books agree.

    A `kill` ends the process; with an `error` the write, fsync, rename, statement, commit or call outside fails, or its
    answer is lost; `away`, the database fails from a statement on.
    """
    _strike(story, dialect, dict.fromkeys(STRIDES, 1) if ALL else STRIDES, tmp_path, request, record_property)


@pytest.mark.timeout(3_600 if ALL else 300)
@pytest.mark.parametrize("story", ["auto", "auto_out"])
def test_stopped_at_any_step(
    story: str,
    dialect: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """A process that stands still at any step of a rollback, and goes on late, undoes nothing that a person deployed.

    Its transaction is given up by PostgreSQL meanwhile, and its lease is over; the outside does what it is told last.
    """
    _strike(story, dialect, {"stop": 1 if ALL else 37}, tmp_path, request, record_property)


def _strike(
    story: str,
    dialect: str,
    strides: dict[str, int],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    given: dict[str, Any] = {
        "story": story,
        "dialect": dialect,
        "folder": str(tmp_path / "faults"),
        "faults": {fault: (stride, random.randint(1, stride)) for fault, stride in strides.items()},
    }
    if dialect == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        given["server"] = str(server.folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.server", json.dumps(given)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for fault, found in json.loads(done.stdout).items():
        record_property(f"{story}, {fault}, {dialect}", {"points": found["points"], "runs": found["runs"]})
        print(f"{story}, {fault}, {dialect}: {found['points']} points, {found['runs']} runs")
        assert found["wrong"] == [], given["faults"]
        assert found["points"] > 50
