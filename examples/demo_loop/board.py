"""What the screen shows: attempts, rollouts and calls, all of it read from the store, and a log of what happened."""

from __future__ import annotations

import bisect
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from examples.demo.board import Event
from examples.demo.journal import Journal
from examples.demo_loop.workspace import TOOLS
from rollguard import Rollguard
from rollguard.model.attempt import Attempt
from rollguard.model.rollout import Rollout

CHAPTERS = ("repaired", "games the cases", "breaks what works", "fails on new inputs", "the store")
_COLOURS = {"roll_back": "bad", "refuse": "bad", "fail": "bad", "void": "bad", "deploy": "deploy", "succeed": "good"}
_LONGEST = 150


@dataclass
class Board:
    """Everything there is to show at one moment."""

    guard: Rollguard
    journal: Journal
    chapter: int = 0
    says: str = ""
    events: list[Event] = field(default_factory=list)
    session_id: int | None = None  # the plain screen shows no single failure
    live: dict[str, int | None] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _seen: int = 0

    def read(self) -> None:
        """Look into the store again, and put the attempts' events on the log."""
        store = self.guard.store
        self.journal.read()
        for tool in TOOLS:
            live = store.versions.live(tool)
            self.live[tool] = live.version_number if live else None
            self.attempts.update({one.tool_name: one for one in store.attempts.recent(tool_name=tool, limit=1)})
            self.rollouts.update({one.tool_name: one for one in store.rollouts.recent(tool, limit=1)})
        for one in reversed(store.attempt_events.recent(100)):
            if one.event_id > self._seen:
                self._seen = one.event_id
                said = " ".join((one.reason or "").split())[:_LONGEST]
                self.note(_COLOURS.get(one.event, "check"), f"{one.tool_name}: {one.event.replace('_', ' ')}: {said}")

    def turn_to(self, chapter: int, says: str) -> None:
        """A new chapter begins."""
        self.chapter, self.says = chapter, says
        self.note("chapter", f"{chapter + 1}. {says}")

    def note(self, kind: str, text: str) -> None:
        """Add a line to the log."""
        bisect.insort(self.events, Event(datetime.now(UTC), kind, text), key=lambda event: event.at)
