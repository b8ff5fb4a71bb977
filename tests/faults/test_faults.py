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

import pytest

from tests.conftest import PostgresServer
from tests.faults.stories import STORIES

ALL = os.environ.get("ROLLGUARD_FAULTS") == "all"
STRIDES = {"kill": 19, "error": 31, "away": 43}  # prime, so that over some runs all steps have their turn


@pytest.fixture
def strike(
    dialect: str, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[str, str], None]:
    """Strikes a story with a fault, and asserts that nothing is wrong afterwards."""

    def run(story: str, fault: str) -> None:
        stride = 1 if ALL else STRIDES[fault]
        given = {"story": story, "fault": fault, "dialect": dialect, "folder": str(tmp_path / "faults")}
        given |= {"stride": stride, "first": random.randint(1, stride)}  # type: ignore[dict-item]
        if dialect == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            given["server"] = str(server.folder)
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.server", json.dumps(given)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        record_property("faults", {"points": found["points"], "runs": found["runs"]})
        print(f"{story}, {fault}, {dialect}: {found['points']} points, {found['runs']} runs from {given['first']} on")
        assert found["wrong"] == []
        assert found["points"] > 50

    return run


@pytest.mark.timeout(1_200 if ALL else 120)
@pytest.mark.parametrize("story", STORIES)
def test_killed_at_any_step(strike: Callable[[str, str], None], story: str) -> None:
    """Whatever step a process is killed at, what it was doing happens once and whole, or not at all."""
    strike(story, "kill")


@pytest.mark.timeout(1_200 if ALL else 120)
@pytest.mark.parametrize("story", STORIES)
def test_a_step_fails(strike: Callable[[str, str], None], story: str) -> None:
    """Whatever write, fsync, rename, statement or commit fails, or whose answer is lost, file and books agree."""
    strike(story, "error")


@pytest.mark.timeout(1_200 if ALL else 120)
@pytest.mark.parametrize("story", STORIES)
def test_the_database_goes_away(strike: Callable[[str, str], None], story: str) -> None:
    """At whatever statement the database goes away, file and books agree once it is back."""
    strike(story, "away")
