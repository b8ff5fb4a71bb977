"""Classify what two versions did with one input: fixed, broken, same or changed. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from rollguard.judge.error_signatures import signature
from rollguard.rehearse.calls import NO_RESULT, Call
from rollguard.rehearse.compare import Comparison, Difference
from rollguard.sandbox.outcome import Outcome, OutcomeKind

_SHOWN_DIFFERENCES = 10
IsFailure = Callable[[Any], bool | str | None]


class PairKind(StrEnum):
    """What the candidate changes for one input."""

    FIXED = "fixed"
    BROKEN = "broken"
    SAME = "same"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Runs:
    """What the live version and the candidate did with one input, each in several runs."""

    call: Call
    old: tuple[Outcome, ...]
    new: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """One input, classified.

    Attributes:
        runs: what happened.
        kind: what the candidate changes.
        old_successes, new_successes: how many of the runs succeeded.
        differences: where the results differ beyond noise and rules.
        moved: whether the live version does something else now than it did when the call was recorded.
        steady: whether the candidate returns the same in each run of a fixed call.
    """

    runs: Runs
    kind: PairKind
    old_successes: int
    new_successes: int
    differences: tuple[Difference, ...] = ()
    moved: bool = False
    steady: bool = True

    @property
    def call(self) -> Call:
        return self.runs.call

    @property
    def flaky(self) -> bool:
        """Return whether one version sometimes succeeds with this input, and sometimes not."""
        return 0 < self.old_successes < len(self.runs.old) or 0 < self.new_successes < len(self.runs.new)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Return (successes, runs) of the candidate and of the live version."""
        return self.new_successes, len(self.runs.new), self.old_successes, len(self.runs.old)

    @property
    def kinds(self) -> tuple[set[str], set[str]]:
        """Return the classes, beside those of JSON, in the results of the live version and of the candidate."""
        return _kinds(self.runs.old), _kinds(self.runs.new)

    @property
    def slowdown(self) -> tuple[float, float]:
        """Return the least milliseconds of the live version and of the candidate: a busy machine only adds to them."""
        return min(o.duration_ms for o in self.runs.old), min(o.duration_ms for o in self.runs.new)


@dataclass(frozen=True, slots=True)
class Classifier:
    """Classifies runs.

    Attributes:
        comparison: how results are compared.
        is_failure: the tool's own rule for results that are failures.
    """

    comparison: Comparison
    is_failure: IsFailure | None = None

    def succeeded(self, outcome: Outcome) -> bool:
        """Return whether a run succeeded."""
        if outcome.kind is not OutcomeKind.RETURNED:
            return False
        return self.is_failure is None or not self.is_failure(result_of(outcome))

    def pair(self, runs: Runs) -> Pair:
        """Classify the runs with one input."""
        old = [outcome for outcome in runs.old if self.succeeded(outcome)]
        new = [outcome for outcome in runs.new if self.succeeded(outcome)]
        moved = self._moved(runs.call, old)
        kind = PairKind.SAME
        differences: tuple[Difference, ...] = ()
        steady = True
        if old and new:
            differences = self._differences(result_of(old[0]), new)
            kind = PairKind.CHANGED if differences else PairKind.SAME
        elif old and len(old) == len(runs.old):
            kind = PairKind.BROKEN
        elif new and len(new) == len(runs.new):
            kind, differences = self._succeeds_alone(runs.call, new)
            steady = kind is not PairKind.FIXED or not self._differences(result_of(new[0]), new[1:])
        elif not old and not new and _fails_otherwise(runs):
            kind = PairKind.CHANGED
        return Pair(runs, kind, len(old), len(new), differences, moved, steady)

    def _succeeds_alone(self, call: Call, new: Sequence[Outcome]) -> tuple[PairKind, tuple[Difference, ...]]:
        """Classify an input with which only the candidate succeeds here: the recorded result is the third witness."""
        if not call.success:
            return PairKind.FIXED, ()
        if call.result is NO_RESULT:
            return PairKind.CHANGED, ()
        differences = self._differences(call.result, new)
        return (PairKind.CHANGED if differences else PairKind.SAME), differences

    def _differences(self, expected: Any, outcomes: Sequence[Outcome]) -> tuple[Difference, ...]:
        for outcome in outcomes:
            found = self.comparison.differences(expected, result_of(outcome))
            if differences := tuple(islice(found, _SHOWN_DIFFERENCES)):
                return differences
        return ()

    def _moved(self, call: Call, old: Sequence[Outcome]) -> bool:
        if call.success is None:
            return False
        if not call.success or not old:
            return call.success != bool(old)
        return call.result is not NO_RESULT and bool(self._differences(call.result, old[:1]))


def result_of(outcome: Outcome) -> Any:
    """Return the result of a run as a JSON value."""
    return None if outcome.result is None else json.loads(outcome.result)


def _kinds(outcomes: Sequence[Outcome]) -> set[str]:
    return {kind for outcome in outcomes for kind in outcome.kinds}


def _fails_otherwise(runs: Runs) -> bool:
    """Return whether the candidate fails in another way: with another error, or with another message for callers."""
    before, after = ({_error(outcome) for outcome in outcomes} for outcomes in (runs.old, runs.new))
    if len(before) > 1:  # the message is noise
        before, after = ({error[:2] for error in some} for some in (before, after))
    return not after <= before


def _error(outcome: Outcome) -> tuple[str, ...]:
    return outcome.kind.value, outcome.error_type or "", signature(outcome.error_type, outcome.error)
