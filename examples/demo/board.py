"""What the screen shows: the calls from the store, the checks, the rollback, and a log of what happened."""

from __future__ import annotations

import bisect
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from examples.demo.journal import Call, Journal
from rollguard import Rollguard
from rollguard.model.rollback import Rollback

CHAPTERS = ("baseline", "deploy", "watch", "rolled back", "the store")


@dataclass(frozen=True)
class Event:
    """One line of the log."""

    at: datetime
    kind: str  # chapter, note, deploy, check, bad, alert or good: decides the colour
    text: str


@dataclass
class Board:
    """Everything there is to show at one moment.

    Attributes:
        live: the live version of each tool.
        checks: rows of the view `tool_health_history`, newest first.
        rollback: the row of `deployment_rollbacks`, once there is one.
    """

    guard: Rollguard
    journal: Journal
    tools: tuple[str, ...]
    chapter: int = 0
    says: str = ""
    live: dict[str, int | None] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    session_id: int | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    rollback: Rollback | None = None
    began: float = field(default_factory=time.monotonic)

    def read(self) -> list[Call]:
        """Look into the store again; the calls that are new are returned."""
        for tool in self.tools:
            live = self.guard.store.versions.live(tool)
            self.live[tool] = live.version_number if live else None
        return self.journal.read()

    def read_checks(self, tool: str) -> None:
        """Look for the tool's health checks and for a rollback."""
        self.checks = self.guard.store.reports.tool_health_history(tool, limit=100)
        if self.session_id is not None:
            self.rollback = self.guard.store.rollbacks.of_session(self.session_id)

    def turn_to(self, chapter: int, says: str) -> None:
        """A new chapter begins."""
        self.chapter, self.says = chapter, says
        self.note("chapter", f"{chapter + 1}. {says}")

    def note(self, kind: str, text: str, at: datetime | None = None) -> None:
        """Add a line to the log, where its time belongs."""
        bisect.insort(self.events, Event(at or datetime.now(UTC), kind, text), key=lambda event: event.at)


class AlertsOnBoard(logging.Handler):
    """Shows Rollguard's alerts. `[notify] log`, on by default, sends them to the logger `rollguard.alerts`."""

    def __init__(self, board: Board) -> None:
        super().__init__(logging.WARNING)
        self._board = board
        self.alerts: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Put an alert on the board, and what else Rollguard logs as a warning or an error beside it."""
        event = getattr(record, "event", None)
        if event is not None:
            self.alerts.append(event)
            self._board.note("alert", f"ALERT {event['level']}: {event['title']}")
        elif not record.getMessage().startswith("AUTO-ROLLBACK"):  # the loop's own line says what the alert says
            self._board.note("bad", record.getMessage())
