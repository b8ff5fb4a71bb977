"""The story: one repair that is right, and three that are not, each stopped where it has to be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from examples.demo.board import AlertsOnBoard
from examples.demo_loop.agent import Agent
from examples.demo_loop.board import Board
from examples.demo_loop.workspace import TOOLS, Workspace, amounts
from rollguard import Rollguard
from rollguard.model.attempt import Attempt, State, Why
from rollguard.model.ramp import State as RampState

CALLS_BEFORE = 200  # of a tool, before the loop looks at it
_PATIENCE = 60  # cycles in which a chapter has to end
_SAYS = {
    "amount_cents": "A tool fails on amounts such as 1,005.10. The loop finds it, and has it repaired.",
    "net_amount": "The next repair games the cases that its author was shown; it is rehearsed with others, too.",
    "early_payment": "The next one repairs what failed, and breaks what worked.",
    "instalment": "The last one passes everything recorded. Then credit notes come in, with a minus.",
}
_EXPECTED = {
    "net_amount": (State.REFUSED, Why.GATE, "held out"),
    "early_payment": (State.REFUSED, Why.GATE, "breaks"),
    "instalment": (State.FAILED, Why.ROLLED_BACK, ""),
    "amount_cents": (State.SUCCEEDED, Why.HEALTHY, ""),
}


@dataclass
class Ending:
    """How it ended: what did not happen as promised; empty if all is well."""

    problems: list[str] = field(default_factory=list)


class Story:
    """Runs it once.

    Args:
        workspace: its folder.
        guard: the system under demonstration.
        screen: the screen that shows it.
        fast: without pauses for people.
    """

    def __init__(self, workspace: Workspace, guard: Rollguard, screen: Any, board: Board, *, fast: bool) -> None:
        self._workspace, self._guard, self._screen, self.board = workspace, guard, screen, board
        self._agent = Agent(guard.registry, amounts(), 0.004)
        self._rest = 0.0 if fast else 1.5
        self._ending = Ending()

    async def tell(self) -> Ending:
        """Run the story. The agent works until its end, also after an error."""
        alerts = AlertsOnBoard(self.board)  # type: ignore[arg-type]  # it only takes notes
        logger = logging.getLogger("rollguard")
        logger.addHandler(alerts)
        self._agent.start()
        try:
            for number, tool in enumerate(TOOLS):
                await self._chapter(number, tool)
            self._agent.stop()
            await self._end()
        finally:
            self._agent.stop()
            logger.removeHandler(alerts)
        return self._ending

    async def _chapter(self, number: int, tool: str) -> None:
        self.board.turn_to(number, _SAYS[tool])
        self._agent.tool = tool
        await self._until(lambda: len(self.board.journal.of(tool)) >= CALLS_BEFORE)
        for _cycle in range(_PATIENCE):
            self._agent.tool = tool if tool in self.board.rollouts else None  # it waits for the repair
            await self._cycle()
            attempt = self.board.attempts.get(tool)
            rollout = self.board.rollouts.get(tool)
            if attempt is not None and not attempt.open:
                break
            if rollout is not None and rollout.ramp.state is RampState.PROMOTED:
                self.board.note("good", f"{tool}: version {rollout.new_version} serves all calls, and stays monitored")
                break
            if tool == "instalment" and rollout is not None and not self._agent.amounts[-1].startswith("-"):
                self._agent.amounts += [f"-{amount}" for amount in amounts() if "," not in amount] * 3
                self.board.note("note", "from now on most invoices are credit notes, with amounts such as -164.99")
        self._agent.tool = None
        await self._pause(self._rest)

    async def _end(self) -> None:
        """Let the hour of monitoring pass on the loop's clock, and compare what happened with what was promised."""
        self.board.turn_to(
            4, "An hour later by the loop's clock the first repair's monitoring ends, and all is in the store."
        )
        await self._cycle(datetime.now(UTC) + timedelta(minutes=61))
        await self._pause(self._rest)
        if self._workspace.model is not None:  # what a model proposes, nobody has promised
            return
        for tool, (state, why, reason) in _EXPECTED.items():
            attempt = self.board.attempts.get(tool)
            said = "" if attempt is None else " ".join(_reasons(attempt))
            if attempt is None or (attempt.state, attempt.why) != (state, why) or reason not in said:
                found = "no attempt" if attempt is None else f"{attempt.state}, {attempt.why}: {said}"
                self._ending.problems.append(f"{tool}: expected {state}, {why} {reason}; found {found}")

    async def _cycle(self, now: datetime | None = None) -> None:
        self._guard.registry.recorder.flush()
        running = asyncio.create_task(asyncio.to_thread(self._guard.loop.tick, now))
        while not running.done():
            self._draw()
            await asyncio.wait({running}, timeout=0.1)
        running.result()
        self._draw()
        await self._pause(0.3)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._draw()
            await asyncio.sleep(0.1)

    async def _pause(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            self._draw()
            await asyncio.sleep(min(0.1, seconds))

    def _draw(self) -> None:
        self.board.read()
        self._screen.draw(self.board)


def _reasons(attempt: Attempt) -> list[str]:
    return [str(reason) for entry in attempt.reasons for reason in entry["reasons"]]
