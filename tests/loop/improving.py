"""A system with a tool that fails with a class of inputs, and improvers that propose what a test says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rollguard import AutonomousLoop, Rollguard
from rollguard.improve import Brief, Proposal
from rollguard.loop.improvement import Improvement, improvement_stages
from rollguard.loop.rules import LoopRules
from rollguard.model.attempt import Attempt, State
from rollguard.rehearse import RehearsalRules, Rehearser
from rollguard.settings import Settings
from tests.conftest import NOW
from tests.improve.helpers import OLD, RIGHT, record
from tests.rehearse.running import in_process

TOOL = "price"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AUTOMATIC = {"automatic": ("shadow", "replay")}
BROKEN = RIGHT.replace("* count", "/ count")


class Scripted:
    """An improver that proposes given sources in turn, and keeps the briefs."""

    name = "scripted"

    def __init__(self, *sources: str | bytes | Exception | None, tokens: int = 0) -> None:
        self._sources, self._tokens = list(sources), tokens
        self.briefs: list[Brief] = []

    def propose(self, brief: Brief) -> Proposal | None:
        self.briefs.append(brief)
        source = self._sources[min(len(self.briefs), len(self._sources)) - 1]
        if isinstance(source, Exception):
            raise source
        if source is None:
            return None
        content = source.encode() if isinstance(source, str) else source
        return Proposal(
            content, "scripted", "as scripted", model="none", tokens=self._tokens, prompt_sha256=brief.sha256
        )


class System:
    """The whole system with a weak tool, and the clock of a test."""

    def __init__(
        self, url: str, folder: Path, *sources: Any, rules: Mapping[str, Any] | None = None, **given: Any
    ) -> None:
        (folder / "tools").mkdir(exist_ok=True)
        approval = {"approval": AUTOMATIC} if rules is None else dict(rules)
        loop = LoopRules(**approval)
        self.guard = Rollguard(Settings(database=url, tools_dir=folder / "tools", loop=loop))
        self.store = self.guard.store
        gate = {TOOL: RehearsalRules(read_only=True, **given)}
        self.guard.rehearser = Rehearser(self.store, self.guard.registry, rules=gate, run=in_process)
        self.improver = Scripted(*(sources or (RIGHT,)))
        self.now = NOW

    def weak(self) -> System:
        """Deploy the tool that fails, and let it be called."""
        self.guard.deploy(TOOL, OLD, deployed_at=NOW - 2 * DAY, watch=False)
        record(self.store, good=20, bad=20)
        return self

    @property
    def parts(self) -> Improvement:
        return replace(self.guard.improvement, improver=self.improver)

    def loop(self, **given: Any) -> AutonomousLoop:
        return AutonomousLoop(self.guard.monitor, improvement=self.parts, **given)

    def tick(self, after: timedelta = timedelta(0)) -> dict[str, int]:
        """Let time pass, and run a cycle of a new loop, as after a restart."""
        self.now += after
        return self.loop().tick(self.now)

    def stages(self) -> list[Any]:
        """The stages of an improvement, in their order."""
        return improvement_stages(self.parts)

    @property
    def attempts(self) -> list[Attempt]:
        return self.store.attempts.recent()

    @property
    def attempt(self) -> Attempt:
        return self.attempts[0]

    def events(self, attempt_id: int | None = None) -> list[str]:
        return [one.event for one in self.store.attempt_events.of(attempt_id or self.attempt.attempt_id)]

    def reasons(self) -> list[str]:
        return [one.reason or "" for one in self.store.attempt_events.of(self.attempt.attempt_id)]

    def live(self) -> int | None:
        live = self.store.versions.live(TOOL)
        return None if live is None else live.version_number

    def calls(self, good: int, bad: int) -> None:
        """Record calls of the live version, made now."""
        self.store.store_tool_executions(
            {
                "tool_name": TOOL,
                "success": n < good,
                "error": None if n < good else f"ValueError: could not convert '{n},{n + 300}'",
                "parameters": {"amount": str(1000 + n) if n < good else f"{n},{n + 300}", "count": 1},
                "executed_at": self.now,
            }
            for n in range(good + bad)
        )

    def close(self) -> None:
        self.guard.close()


__all__ = ["BROKEN", "DAY", "HOUR", "OLD", "RIGHT", "TOOL", "Scripted", "State", "System"]
