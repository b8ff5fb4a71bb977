"""Find triggers: patterns of failures that do not wait for a scheduled check.

Only executions of the deployed version since its deployment count. A trigger alone is dangerous: with 90 % success and
2,000 calls a day, 84 % of healthy days have three failures in a row by chance. So by default a trigger acts only
together with evidence, see `rollguard.judge.policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

IN_A_ROW = 3
ALL_FAILED = 5
WITHIN = timedelta(minutes=5)
PATTERN = 2 * WITHIN  # how far back a check searches for triggers
MOST_OUTCOMES = 200  # the latest executions that a check reads; earlier ones are not known
_SIGNATURE_ERRORS = ("TypeError", "AttributeError")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one execution of the deployed version ended."""

    executed_at: datetime
    success: bool
    error_type: str | None = None

    def to_list(self) -> list[Any]:
        """Return the outcome as a JSON-safe list."""
        return [self.executed_at.isoformat(), self.success, self.error_type]

    @classmethod
    def from_list(cls, kept: Sequence[Any]) -> Self:
        """Return the outcome that `to_list` wrote."""
        return cls(datetime.fromisoformat(kept[0]), kept[1], kept[2])


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that was found.

    Attributes:
        name: `signature_change`, `complete_failure` or `consecutive_failures`.
        reason: the pattern as a sentence with numbers.
    """

    name: str
    reason: str


def trigger_in(outcomes: Sequence[Outcome], *, cut: bool = False) -> Trigger | None:
    """Return the most specific trigger in some executions; None if there is none.

    Args:
        outcomes: the executions, the oldest first.
        cut: whether earlier executions are missing. Then `complete_failure` needs five minutes that are fully known.
    """
    runs = _runs_of_failures(outcomes)
    for run in runs:
        if all(outcome.error_type in _SIGNATURE_ERRORS for outcome in run):
            names = " and ".join(sorted({str(outcome.error_type) for outcome in run}))
            return Trigger("signature_change", f"{IN_A_ROW} calls in a row failed with {names} within 5 minutes")
    latest = [o for o in outcomes if outcomes[-1].executed_at - o.executed_at <= WITHIN]
    known = not cut or len(latest) < len(outcomes)
    if known and len(latest) >= ALL_FAILED and not any(outcome.success for outcome in latest):
        return Trigger("complete_failure", f"all {len(latest)} calls of 5 minutes failed")
    if runs:
        return Trigger("consecutive_failures", f"{IN_A_ROW} calls in a row failed within 5 minutes")
    return None


def _runs_of_failures(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    """Return every three consecutive failures within five minutes."""
    threes = (outcomes[i : i + IN_A_ROW] for i in range(len(outcomes) - IN_A_ROW + 1))
    return [
        run
        for run in threes
        if not any(outcome.success for outcome in run) and run[-1].executed_at - run[0].executed_at <= WITHIN
    ]
