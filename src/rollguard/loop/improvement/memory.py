"""What is remembered of a cause: how often repairs for it failed, and until when it is left alone. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollguard.investigate import Report
from rollguard.loop.rules import LoopRules
from rollguard.model.attempt import NOT_GOOD, Attempt, Why

REMEMBERED = timedelta(days=30)
LONGEST = timedelta(days=7)  # that a cause is left alone
DRAWN_ANEW = 3  # proposals after which other calls are held out


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one cause.

    Attributes:
        attempts: the attempts for it that ended, newest first.
        back_off: how long it is left alone after the first that failed; twice as long after each further one.
        most: how many may fail.
    """

    attempts: Sequence[Attempt]
    back_off: timedelta
    most: int

    def failed(self, now: datetime) -> list[Attempt]:
        """Return the attempts that failed, newest first."""
        return [
            one
            for one in self.attempts
            if one.state in NOT_GOOD and one.ended_at is not None and now - one.ended_at < REMEMBERED
        ]

    def pause(self, failures: int) -> timedelta:
        """Return how long the cause is left alone after so many failed attempts."""
        return min(LONGEST, self.back_off * 2 ** min(failures - 1, 20)) if failures > 0 else timedelta(0)

    def left_alone(self, now: datetime) -> tuple[Why, datetime] | None:
        """Return why the cause is left alone, and until when; None if it is not."""
        failed = self.failed(now)
        if len(failed) >= self.most:
            oldest = failed[self.most - 1].ended_at
            return (Why.CAP, oldest + REMEMBERED) if oldest is not None else None
        ended = failed[0].ended_at if failed else None
        until = None if ended is None else ended + self.pause(len(failed))
        return (Why.BACKING_OFF, until) if until is not None and now < until else None

    @property
    def tries(self) -> int:
        """Return how many proposals there were."""
        return sum(one.tries for one in self.attempts)


def left_alone_until(known: Sequence[Attempt], rules: LoopRules, now: datetime) -> datetime:
    """Return until when a tool is left alone after an attempt for a cause that fails now.

    Args:
        known: the attempts for the cause that ended before.
        rules: how long a cause is left alone.
        now: the present moment.
    """
    memory = Memory(known, timedelta(hours=rules.back_off_hours), rules.max_attempts_per_cause)
    return now + memory.pause(len(memory.failed(now)) + 1)


def draw_of(tries: int) -> int:
    """Return the number by which calls are held out. After three proposals others are, so that none can be learned."""
    return tries // DRAWN_ANEW


def cause_key(report: Report) -> str:
    """Return what names a cause: its kind, its parameter, and the error. Its counts change from day to day."""
    first, signature = report.causes[0], _signature(report)
    return hashlib.sha256("\n".join((first.kind, first.path, signature)).encode()).hexdigest()[:16]


def _signature(report: Report) -> str:
    entry: dict[str, Any] = report.signatures[0] if report.signatures else {}
    place = entry.get("failed_at") or {}
    return f"{entry.get('error_type')} {place.get('function')}"
