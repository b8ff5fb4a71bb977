"""The story: a baseline, a bad deployment, the check that sees it, the rollback, and work that never stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.demo.agent import Agent, Task, tasks_for
from examples.demo.board import AlertsOnBoard, Board
from examples.demo.frame import percent
from examples.demo.journal import Journal
from examples.demo.screen import Screen
from examples.demo.workspace import CANDIDATE, CHANGED, HERE, TOOLS, Workspace
from rollguard import Rollguard
from rollguard.model.rollback import Rollback

REASON = "parse amounts with float() instead of regular expressions"
ROUNDS_BEFORE = 3  # times that the agent does all its work before the deployment
CALLS_AFTER = 36  # calls after the rollback
PATIENCE = 60  # calls of version 2 after which a rollback would have to have come


@dataclass(frozen=True)
class Tempo:
    """How fast the story runs, in seconds. What happens does not change."""

    before: float  # the agent's pause between two calls before the deployment,
    watched: float  # while version 2 is monitored,
    after: float  # and after the rollback
    check_every: float
    frame: float = 0.1
    pause: float = 0.0  # time to read, after the deployment
    hold: float = 0.0  # and at the end


FOLLOWED = Tempo(before=0.045, watched=0.25, after=0.09, check_every=2.0, pause=1.0, hold=4.0)
BRISK = Tempo(before=0.004, watched=0.015, after=0.008, check_every=0.2, frame=0.05)
FAST = Tempo(before=0.0, watched=0.006, after=0.0, check_every=0.02, frame=0.005)


@dataclass
class Ending:
    """How it ended.

    Attributes:
        watched: rows of the view `active_monitoring` at the last check before the rollback.
        alerts: the notifications that people got.
        retried: tasks that had worked, failed with version 2 and were repeated after the rollback.
        recovered: how many of these succeeded then.
        findings: what the agent found out.
        problems: what did not happen as promised; empty if all is well.
    """

    watched: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    retried: int = 0
    recovered: int = 0
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Story:
    """Runs it once, from the first call to the last.

    Args:
        workspace: its folder and database.
        guard: the system under demonstration.
        screen: the screen that shows it.
        tempo: how fast it runs.
        candidate: the file that is deployed as version 2.
    """

    def __init__(self, workspace: Workspace, guard: Rollguard, screen: Screen, tempo: Tempo, candidate: Path) -> None:
        self._workspace, self._guard, self._screen, self._tempo = workspace, guard, screen, tempo
        self._candidate = candidate
        self._tasks = tasks_for(workspace.inputs)
        self._agent = Agent(guard.registry, self._tasks)
        self._ending = Ending()
        self.board = Board(guard, Journal(guard.store, TOOLS), TOOLS)

    async def tell(self) -> Ending:
        """Run the story. The agent works until its end, also after an error."""
        alerts = AlertsOnBoard(self.board)
        logger = logging.getLogger("rollguard")
        logger.addHandler(alerts)
        self._agent.start()
        try:
            await self._baseline()
            rollback = await self._watch() if await self._deploy() else None
            if rollback is not None:
                await self._afterwards(rollback)
        finally:
            self._agent.stop()
            logger.removeHandler(alerts)
        self.board.read()
        self._ending.alerts = alerts.alerts
        self._ending.findings = self._agent.findings()
        self._look_for_problems()
        return self._ending

    # --- the chapters ----------------------------------------------------------------------------------------------

    async def _baseline(self) -> None:
        self.board.turn_to(0, "An agent works with three tools in version 1. Rollguard records every call.")
        self.board.note("note", f"the agent begins: {len(self._tasks)} tasks a round, {len(TOOLS)} tools, version 1")
        self._agent.pause = self._tempo.before
        await self._until(lambda: len(self.board.journal.calls) >= ROUNDS_BEFORE * len(self._tasks))
        calls = self.board.journal.of(CHANGED)
        failed = sum(not call.success for call in calls)
        self.board.note("note", f"baseline: {failed} of {len(calls)} calls of {CHANGED} failed (broken files)")

    async def _deploy(self) -> bool:
        """Deploy version 2; False if its code is live already, so there is nothing to monitor."""
        self.board.turn_to(1, f"Version 2 of {CHANGED} goes live; the agent does not stop for it.")
        self._agent.pause = self._tempo.watched
        deployed = self._guard.deploy(
            CHANGED,
            self._candidate.read_bytes(),
            created_by="improver",
            reason=REASON if self._candidate.samefile(CANDIDATE) else f"a try of {self._candidate.name}",
        )
        if not deployed.changed:
            return False
        self.board.session_id = deployed.session_id
        self.board.note("deploy", f"{CHANGED} version {deployed.version_number} is live, session {deployed.session_id}")
        await self._until_time(time.monotonic() + self._tempo.pause)
        return True

    async def _watch(self) -> Rollback | None:
        """Check at each interval, as `AutonomousLoop.run` does, until a check has rolled the deployment back."""
        self.board.turn_to(
            2, f"Rollguard checks every {self._tempo.check_every:g} s in this demo; in production every 5 minutes."
        )
        while True:
            begun = time.monotonic()
            # Counted before the check, so that one check sees that many calls on any machine.
            enough = len(self.board.journal.of(CHANGED, version=2)) >= PATIENCE
            cycle = await self._guard.loop.check_deployment_health()
            self._read_check()
            if cycle["rollbacks_triggered"]:
                return self.board.rollback
            self._ending.watched = self._guard.store.reports.active_monitoring()
            if enough:
                return None
            await self._until_time(begun + self._tempo.check_every)

    async def _afterwards(self, rollback: Rollback) -> None:
        self.board.turn_to(3, f"Version {rollback.to_version} is live again, and the agent never stopped.")
        if self._is_version_1_again():
            self.board.note("good", f"{CHANGED}.py on disk is byte for byte version {rollback.to_version}")
        self._agent.pause = self._tempo.after
        self._screen.draw(self.board)
        made = self._agent.calls
        await self._until(lambda: self._agent.calls > made)  # a call under way at the rollback may have failed too
        retried = self._agent.retry()
        self.board.note("note", f"the agent tries {len(retried)} tasks again that had worked before version 2")
        # Counted from the calls made, not from those read so far: the recorder may still hold some from before.
        enough = self._agent.calls + len(retried) + CALLS_AFTER
        await self._until(lambda: len(self.board.journal.calls) >= enough)
        self._count_recovered(retried, rollback)
        self.board.turn_to(4, "All of it is in the store: the views and the rollback follow.")
        await self._until_time(time.monotonic() + self._tempo.hold)

    # --- helpers ---------------------------------------------------------------------------------------------------

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Refresh the screen until the condition is reached."""
        while True:
            self.board.read()
            self._screen.draw(self.board)
            if reached():
                return
            if not self._agent.is_alive():
                raise RuntimeError("the agent has stopped, which it never should")
            await asyncio.sleep(self._tempo.frame)

    async def _until_time(self, moment: float) -> None:
        await self._until(lambda: time.monotonic() >= moment)

    def _read_check(self) -> None:
        """Say what the latest check found, as it is stored."""
        self.board.read_checks(CHANGED)
        number, check = len(self.board.checks), self.board.checks[0]
        if check["verdict"] == "insufficient_data":
            needed = self._guard.monitor.rules.min_executions
            text = f"insufficient data: {check['current_total_executions']} calls since the deployment, {needed} needed"
        else:
            rates = f"{percent(check['baseline_success_rate'])} → {percent(check['current_success_rate'])}"
            text = f"{check['verdict']}: {rates}, drop {check['success_rate_drop'] * 100:.1f} points"
        kind = "bad" if check["regression_detected"] else "check"
        self.board.note(kind, f"check {number}: {text}", at=check["checked_at"])
        self.board.read()

    def _count_recovered(self, retried: list[Task], rollback: Rollback) -> None:
        since = [call for call in self.board.journal.calls if call.at >= rollback.rollback_time]
        well = {(call.tool, tuple(call.arguments.items())) for call in since if call.success and call.version == 1}
        self._ending.retried = len(retried)
        self._ending.recovered = sum((task.tool, task.arguments) in well for task in retried)
        self.board.note("good", f"{self._ending.recovered} of these {len(retried)} succeed with version 1")

    def _is_version_1_again(self) -> bool:
        return self._workspace.tool_file(CHANGED).read_bytes() == (HERE / "tools_v1" / f"{CHANGED}.py").read_bytes()

    def _look_for_problems(self) -> None:
        rollback, problems = self.board.rollback, self._ending.problems
        if rollback is None or not rollback.rollback_successful:
            problems.append(f"version 2 was not rolled back within {PATIENCE} calls of it")
        elif (rollback.from_version, rollback.to_version) != (2, 1):
            problems.append(f"the rollback went from {rollback.from_version} to {rollback.to_version}, not from 2 to 1")
        if not self._is_version_1_again():
            problems.append(f"{self._workspace.tool_file(CHANGED)} is not version 1")
        if self._ending.recovered != self._ending.retried:
            problems.append(f"only {self._ending.recovered} of {self._ending.retried} tasks work again")
        recorded = len(self.board.journal.calls)
        if recorded != self._agent.calls:
            problems.append(f"the agent made {self._agent.calls} calls, but the store has {recorded}")
