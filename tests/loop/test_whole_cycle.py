"""The whole cycle with real processes: a program writes the repair, and the sandbox runs it, on both databases."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollguard import AutonomousLoop, Rollguard, Settings
from rollguard.improve import CommandImprover, Improvers
from rollguard.loop.rules import ApprovalRules, LoopRules
from rollguard.model.attempt import State
from rollguard.rehearse import RehearsalRules
from rollguard.settings import SandboxSettings
from tests.conftest import NOW
from tests.improve.helpers import OLD, RIGHT, record

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

HOUR = timedelta(hours=1)
AGENT = f"from pathlib import Path\nPath('tool.py').write_text({RIGHT!r})\n"
LEAVING = "import os\nos.unlink('tool.py')\nos.symlink('/etc/passwd', 'tool.py')\n"


def system(url: str, folder: Path, program: str) -> tuple[Rollguard, AutonomousLoop]:
    """A system with a weak tool, the real sandbox, and a program as the improver."""
    (folder / "tools").mkdir()
    (folder / "agent.py").write_text(program)
    settings = Settings(
        database=url,
        tools_dir=folder / "tools",
        loop=LoopRules(improve=True, approval=ApprovalRules(automatic=("shadow",))),
        rehearsals={"price": RehearsalRules(read_only=True)},
        sandbox=SandboxSettings(isolation="best_effort"),
    )
    guard = Rollguard(settings)
    guard.deploy("price", OLD, deployed_at=NOW - 48 * HOUR, watch=False)
    record(guard.store, good=20, bad=20)
    program_improver = CommandImprover([sys.executable, "-I", str(folder / "agent.py")], name="agent", timeout=20)
    parts = replace(guard.improvement, improver=Improvers([program_improver]))
    return guard, AutonomousLoop(guard.monitor, improvement=parts)


def test_the_whole_cycle(url: str, tmp_path: Path) -> None:
    """Found, repaired by a program, rehearsed in the sandbox, approved, deployed, watched to health."""
    guard, loop = system(url, tmp_path, AGENT)
    with guard:
        loop.tick(NOW)
        (attempt,) = guard.store.attempts.recent()
        assert (attempt.state, attempt.author) == (State.WATCHING, "agent")
        assert guard.registry.call("price", amount="1,301")["total"] == 1301.0
        guard.store.store_tool_executions(
            {"tool_name": "price", "success": True, "executed_at": NOW + HOUR} for _ in range(40)
        )
        loop.tick(NOW + 25 * HOUR)
        assert guard.store.attempts.get(attempt.attempt_id).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import time\ntime.sleep(3600)", "took longer"),
        ("print('I would rather not.')", "agent"),
        ("import sys\nsys.stdout.write('x' * 50_000_000)", "agent"),
        (LEAVING, "agent"),
    ],
    ids=["an hour", "nonsense", "too much", "leaves its folder"],
)
def test_a_program_that_does_something_else(tmp_path: Path, program: str, says: str) -> None:
    """It ends the attempt with what it did, and nothing goes live."""
    guard, _loop = system(f"sqlite:///{tmp_path}/store.db", tmp_path, program)
    with guard:
        improver = CommandImprover([sys.executable, "-I", str(tmp_path / "agent.py")], name="agent", timeout=3)
        parts = replace(guard.improvement, improver=improver)
        AutonomousLoop(guard.monitor, improvement=parts).tick(NOW)
        (attempt,) = guard.store.attempts.recent()
        assert attempt.state is State.FAILED
        last = guard.store.attempt_events.of(attempt.attempt_id)[-1]
        assert says in (last.reason or "") or says in str(last.details)
        live = guard.store.versions.live("price")
        assert live is not None
        assert live.version_number == 1


def test_loops_at_the_same_moment_make_one_attempt(url: str, tmp_path: Path) -> None:
    """Four loops on one store: one attempt, one proposal, one version, one session, each event once."""
    guard, loop = system(url, tmp_path, AGENT)
    with guard:
        loops = [loop, *(AutonomousLoop(guard.monitor, improvement=loop._improvement) for _ in range(3))]
        start = threading.Barrier(len(loops))

        def run(one: AutonomousLoop) -> None:
            start.wait()
            one.tick(NOW)
            one.tick(NOW)

        threads = [threading.Thread(target=run, args=(one,)) for one in loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (attempt,) = guard.store.attempts.recent()
        events = [one.event for one in guard.store.attempt_events.of(attempt.attempt_id)]
        assert events == ["find", "investigate", "propose", "rehearse", "approve", "intend", "deploy"]
        assert [version.version_number for version in guard.store.versions.history("price")] == [2, 1]
        assert len(guard.store.sessions.recent(tool_name="price")) == 1
