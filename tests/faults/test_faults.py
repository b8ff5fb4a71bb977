"""Deployments and rollbacks survive a SIGKILL, a failing disk and a failing database at any step.

`make test` strikes a few steps of every story, always the same ones, `make long` many and `make soak` each one. Which
ones is decided by the seed in FAULTS_SEED; strides are prime, so that over some seeds all steps have their
turn.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stories import LONG, ROLLOUTS, STORIES
from tests.postgres import PostgresServer

SEED = os.environ.get("FAULTS_SEED", "0")


def _strides(few: dict[str, int], many: dict[str, int]) -> pytest.MarkDecorator:
    """How many steps lie between two that are struck: by `make test`, by `make long` and by `make soak`."""
    long, soak = [pytest.mark.long, pytest.mark.timeout(600)], [pytest.mark.soak, pytest.mark.timeout(3_600)]
    return pytest.mark.parametrize(
        "strides",
        [
            pytest.param(few, id="few"),
            pytest.param(many, id="many", marks=long),
            pytest.param(dict.fromkeys(few, 1), id="every", marks=soak),
        ],
    )


Strike = Callable[[str, dict[str, int]], None]


_FEW = {"kill": 307, "error": 479, "away": 719}
_MANY = {"kill": 19, "error": 31, "away": 43}
# Their stories take so long that `make soak` strikes many steps of them, and kills at each.
_SELDOM = pytest.mark.parametrize(
    "strides",
    [
        pytest.param(_FEW, id="few", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
        pytest.param(_MANY, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(3_600)]),
        pytest.param(
            {"kill": 1, "error": 7, "away": 11}, id="every", marks=[pytest.mark.soak, pytest.mark.timeout(7_200)]
        ),
    ],
)


@_strides(_FEW, _MANY)
@pytest.mark.parametrize("story", [story for story in STORIES if story not in LONG])
def test_struck_at_any_step(story: str, strides: dict[str, int], strike: Strike) -> None:
    """Whatever step is struck, what was being done happens once and whole or not at all, and file and books agree.

    A `kill` ends the process; with an `error` the write, fsync, rename, statement, commit or call outside fails, or its
    answer is lost; `away`, the database fails from a statement on.
    """
    strike(story, strides)


@_SELDOM
@pytest.mark.parametrize("story", LONG)
def test_a_long_story_struck_at_any_step(story: str, strides: dict[str, int], strike: Strike) -> None:
    """What holds for the other stories holds for an improvement, and for a package's release and its rollback."""
    strike(story, strides)


@_strides({"kill": 701, "error": 1_499, "away": 1_999}, _MANY)
@pytest.mark.parametrize(
    "story", [*(pytest.param(story, marks=pytest.mark.long) for story in ROLLOUTS[:-1]), ROLLOUTS[-1]]
)
def test_a_rollout_struck_at_any_step(story: str, strides: dict[str, int], strike: Strike) -> None:
    """Whatever step of a rollout is struck, it happens once and whole, and every process draws by what is so."""
    strike(story, strides)


@_strides({"stop": 401}, {"stop": 37})
@pytest.mark.parametrize("story", ["auto", "auto_out"])
def test_stopped_at_any_step(story: str, strides: dict[str, int], strike: Strike) -> None:
    """A process that stands still at any step of a rollback, and goes on late, undoes nothing that a person deployed.

    Its transaction is given up by PostgreSQL meanwhile, and its lease is over; the outside does what it is told last.
    """
    strike(story, strides)


class Server:
    """The process that forks those that are struck. It is shared: to start it takes a second, and it keeps nothing."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def ask(self, given: dict[str, Any]) -> dict[str, Any]:
        """Strike as it is given; what was found. One that did not answer is not asked again."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps(given), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer, self._log.read_text()
        except BaseException:
            self.end()
            raise
        return dict(json.loads(answer))

    def end(self) -> None:
        """Let it live no longer."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        with self._log.open("w") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.faults.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of this test process."""
    one = Server(tmp_path_factory.mktemp("faults") / "stderr")
    yield one
    one.end()


@pytest.fixture
def strike(
    dialect: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    server: Server,
    record_property: Callable[[str, object], None],
) -> Strike:
    """Strikes a story on this database, and asserts that nothing was wrong afterwards."""

    def strike_story(story: str, strides: dict[str, int]) -> None:
        chance = random.Random(f"{SEED}, {story}, {dialect}")
        given: dict[str, Any] = {
            "story": story,
            "dialect": dialect,
            "folder": str(tmp_path / "faults"),
            "faults": {fault: (stride, chance.randint(1, stride)) for fault, stride in strides.items()},
        }
        if dialect == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            given["server"] = str(postgres.folder)
        for fault, found in server.ask(given).items():
            record_property(f"{story}, {fault}, {dialect}", {"points": found["points"], "runs": found["runs"]})
            print(f"{story}, {fault}, {dialect}: {found['points']} points, {found['runs']} runs")
            assert found["wrong"] == [], f"FAULTS_SEED={SEED}: {given['faults']}"
            assert found["points"] > 50

    return strike_story
