"""Run two versions with the same inputs, in turn, and again where noise may be taken for a difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rollguard.rehearse.calls import Call
from rollguard.rehearse.compare import Comparison
from rollguard.rehearse.noise import Noise
from rollguard.rehearse.pairs import Classifier, IsFailure, Pair, PairKind, Runs, result_of
from rollguard.rehearse.rules import RehearsalRules
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind

ROUNDS = 3
MORE_ROUNDS = 6
_AT_ONCE = 10  # inputs in doubt that are run again first


class Run(Protocol):
    """Runs a tool's source, a file's or a package's, once with each input, as `in_sandbox` does."""

    def __call__(
        self, source: bytes, tool_name: str, inputs: Sequence[Mapping[str, Any]], limits: Limits
    ) -> list[Outcome]:
        """Return what the tool did with each input."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The live version and the candidate, and how they are run.

    Attributes:
        tool_name: the tool.
        old, new: the sources.
        run: runs them.
        limits: what a run may use.
    """

    tool_name: str
    old: bytes
    new: bytes
    run: Run
    limits: Limits

    def outcomes(self, source: bytes, inputs: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Run one of the sources with some inputs."""
        return self.run(source, self.tool_name, inputs, self.limits) if inputs else []

    def rounds(self, some: Iterable[Runs], rounds: int) -> list[Runs]:
        """Run both with each input, in turn, so many times more. Every second round goes backwards.

        What an earlier call leaves behind in the process then differs between the rounds, and is noise.
        """
        found = list(some)
        for number in range(rounds):
            step = -1 if number % 2 else 1
            inputs = [runs.call.parameters for runs in found][::step]
            old, new = self.outcomes(self.old, inputs)[::step], self.outcomes(self.new, inputs)[::step]
            found = [
                replace(runs, old=(*runs.old, before), new=(*runs.new, after))
                for runs, before, after in zip(found, old, new, strict=True)
            ]
            if number == 0 and (_none_ran(old) or _none_ran(new)):
                break
        return found


def paired(
    versions: Versions, calls: Sequence[Call], rules: RehearsalRules, is_failure: IsFailure | None
) -> tuple[list[Pair], Classifier]:
    """Return what the two versions do with each call, classified, and the classifier, which knows the noise."""
    every = versions.rounds([Runs(call, (), ()) for call in calls], ROUNDS)
    pairs, classifier = classified(every, rules, is_failure)
    doubtful = [number for number, pair in enumerate(pairs) if _is_doubtful(pair, pairs)]
    while doubtful:
        now, doubtful = doubtful[:_AT_ONCE], doubtful[_AT_ONCE:]
        again = versions.rounds([every[number] for number in now], MORE_ROUNDS)
        for number, runs in zip(now, again, strict=True):
            every[number] = runs
        before = [pairs[number].kind for number in now]
        pairs, classifier = classified(every, rules, is_failure)
        if before == [pairs[number].kind for number in now] and not any(pairs[number].flaky for number in now):
            break  # noise explains none of them, so it will explain none of the others
        doubtful = [number for number in doubtful if _is_doubtful(pairs[number], pairs)]
    return pairs, classifier


def classified(
    every: Sequence[Runs], rules: RehearsalRules, is_failure: IsFailure | None
) -> tuple[list[Pair], Classifier]:
    """Learn the noise from the live version's runs, and classify each input."""
    noise = Noise()
    classifier = Classifier(Comparison(rules, noise), is_failure)
    for runs in every:
        results = [result_of(outcome) for outcome in runs.old if classifier.succeeded(outcome)]
        if len(results) > 1:
            noise.observe(results)
    return [classifier.pair(runs) for runs in every], classifier


def did_not_run(outcomes: Sequence[Outcome]) -> bool:
    """Return whether an input was not run."""
    return any(outcome.kind is OutcomeKind.NOT_RUN for outcome in outcomes)


def _none_ran(outcomes: Sequence[Outcome]) -> bool:
    return bool(outcomes) and all(outcome.kind is OutcomeKind.NOT_RUN for outcome in outcomes)


def _is_doubtful(pair: Pair, pairs: Sequence[Pair]) -> bool:
    if did_not_run(pair.runs.old) or did_not_run(pair.runs.new):
        return False
    if pair.flaky or pair.kind in (PairKind.BROKEN, PairKind.CHANGED):
        return True
    return pair.kind is PairKind.FIXED and any(other.flaky for other in pairs)
