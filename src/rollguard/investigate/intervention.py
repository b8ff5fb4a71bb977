"""Run a tool with inputs to confirm a cause, and to find the smallest input that fails. It runs what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rollguard.investigate.causes import Cause
from rollguard.investigate.smallest import smallest_failing, transplanted
from rollguard.investigate.values import REDACTED, Values
from rollguard.sandbox.outcome import Outcome, OutcomeKind

Inputs = Sequence[dict[str, Any]]
Run = Callable[[Inputs], list[Outcome]]
"""Runs a tool with each of some inputs, where that harms nobody."""

_PAIRS = 3  # of a failing and a passing call that a cause is tried on
_TRIED = 20  # calls that are run to find them


def runnable(parameters: Any) -> bool:
    """Return whether a tool can be called with recorded parameters: known as a whole, and nothing in them redacted."""
    return isinstance(parameters, dict) and not _redacted(parameters)


def confirmed(cause: Cause, failing: Inputs, passing: Inputs, run: Run) -> Cause:
    """Return a cause with what interventions say of it.

    A failing call with the suspected part taken from a passing one has to pass, and the other way round to fail.
    `confirmed` stays None where that cannot be tried: the cause is no parameter, or no recorded call ends as it did.

    Args:
        cause: to be confirmed.
        failing, passing: recorded inputs.
        run: runs the tool.
    """
    bad = [one for one in failing if cause.holds(Values(one, {}))][:_TRIED]
    good = [one for one in passing if not cause.holds(Values(one, {}))][:_TRIED]
    if not bad or not good:
        return cause
    bad = [one for one, outcome in zip(bad, run(bad), strict=True) if _failed(outcome)][:_PAIRS]
    good = [one for one, outcome in zip(good, run(good), strict=True) if not _failed(outcome)][:_PAIRS]
    agreed: list[bool] = []
    for failed, passed in zip(bad, good, strict=False):
        cured = transplanted(failed, passed, cause.parts)
        harmed = transplanted(passed, failed, cause.parts)
        if cured is not None and harmed is not None:
            first, second = run([cured, harmed])
            agreed.append(not _failed(first) and _failed(second))
    return replace(cause, confirmed=all(agreed)) if agreed else cause


def smallest(failing: Inputs, run: Run, cause: Cause) -> dict[str, Any] | None:
    """Return the smallest input found that fails as a recorded one does; None if none of them fails when it is run.

    If the cause is a parameter's, it holds for the input, too: a smaller one may fail alike for another reason.
    """

    def holds(given: dict[str, Any]) -> bool:
        return cause.holds(Values(given, {}))

    of_cause = [one for one in failing if holds(one)]
    for one in sorted((of_cause or failing)[:_TRIED], key=lambda given: len(str(given))):
        (outcome,) = run([one])
        if _failed(outcome):
            how = _how(outcome)

            def alike(inputs: Inputs, how: tuple[Any, ...] = how) -> list[bool]:
                fails = [_failed(outcome) and _how(outcome) == how for outcome in run(inputs)]
                return [fail and (not of_cause or holds(one)) for fail, one in zip(fails, inputs, strict=True)]

            return smallest_failing(one, alike)
    return None


def _failed(outcome: Outcome) -> bool:
    return outcome.kind is not OutcomeKind.RETURNED


def _how(outcome: Outcome) -> tuple[Any, ...]:
    frame = outcome.frame
    return outcome.kind, outcome.error_type, None if frame is None else (frame.function, frame.line)


def _redacted(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_redacted, value.values()))
    if isinstance(value, list):
        return any(map(_redacted, value))
    return isinstance(value, str) and REDACTED in value
