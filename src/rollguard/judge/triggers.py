"""Triggers: patterns of failures that do not wait for a scheduled check.

They look only at executions of the deployed version since its deployment. Alone they would be dangerous: at 90 %
success and 2,000 calls a day three failures in a row come by chance in 84 % of healthy days. So by default one acts
only together with the evidence, see `rollguard.judge.verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

IN_A_ROW = 3
ALL_FAILED = 5
WITHIN = timedelta(minutes=5)
PATTERN = 2 * WITHIN  # how far back a check looks for them
MOST_OUTCOMES = 200  # the latest executions that are looked at; what was before them is not known
_SIGNATURE_ERRORS = ("TypeError", "AttributeError")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one execution of the deployed version ended."""

    executed_at: datetime
    success: bool
    error_type: str | None = None

    def to_list(self) -> list[Any]:
        """The outcome as a JSON-safe list."""
        return [self.executed_at.isoformat(), self.success, self.error_type]

    @classmethod
    def from_list(cls, kept: Sequence[Any]) -> Self:
        """The outcome that `to_list` described."""
        return cls(datetime.fromisoformat(kept[0]), kept[1], kept[2])


@dataclass(frozen=True, slots=True)
class Trigger:
    """A pattern that was found.

    Attributes:
        name: `signature_change`, `complete_failure` or `consecutive_failures`.
        reason: the same in words and numbers.
    """

    name: str
    reason: str


def trigger_in(outcomes: Sequence[Outcome], *, cut: bool = False) -> Trigger | None:
    """The most telling pattern in some executions, the oldest first; None where there is none.

    Args:
        cut: whether there were more before the first, so that nobody knows whether all of five minutes failed.
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
    """Every three neighbours that failed, none more than five minutes after the first."""
    threes = (outcomes[i : i + IN_A_ROW] for i in range(len(outcomes) - IN_A_ROW + 1))
    return [
        run
        for run in threes
        if not any(outcome.success for outcome in run) and run[-1].executed_at - run[0].executed_at <= WITHIN
    ]
