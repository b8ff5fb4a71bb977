"""The result of a rehearsal: the verdict with its reasons, and what the candidate does with each input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rollguard.errors import RehearsalRefused, RehearsalUndecided
from rollguard.rehearse.declared import Strategy
from rollguard.rehearse.pairs import Pair, PairKind
from rollguard.rehearse.reason import Reason, Weight
from rollguard.rehearse.shown import Shown
from rollguard.rehearse.test_cases import CaseResult


class Verdict(StrEnum):
    """What the gate says about a candidate."""

    PASSES = "passes"
    REFUSED = "refused"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal of one candidate.

    Attributes:
        tool_name: the tool.
        old_sha256, new_sha256: the hashes of the live source and of the candidate.
        strategy: how it was rehearsed; None if its source was refused before.
        why: why in this way.
        reasons: why it does not pass by itself; empty if it does.
        pairs: what the two versions did with each recorded call.
        unfit: how many recorded calls could not be run again, by the reason.
        repeated: how many recorded calls had the same input as another one.
        noise: the places of results that differ between runs of the same version.
        p_fixed: how likely so many recorded failures succeed now if nothing was fixed.
        cases: what became of the tool's declared test cases.
        shown: writes it for people, without secrets.
    """

    tool_name: str
    old_sha256: str
    new_sha256: str
    strategy: Strategy | None = None
    why: str = ""
    reasons: tuple[Reason, ...] = ()
    pairs: tuple[Pair, ...] = ()
    unfit: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0
    noise: tuple[str, ...] = ()
    p_fixed: float | None = None
    cases: tuple[CaseResult, ...] = ()
    shown: Shown = field(default_factory=Shown, repr=False)

    @property
    def verdict(self) -> Verdict:
        """Return the verdict: one reason to refuse refuses, one to ask leaves it to a person."""
        weights = {reason.weight for reason in self.reasons}
        if Weight.REFUSE in weights:
            return Verdict.REFUSED
        return Verdict.ASK if weights else Verdict.PASSES

    def count(self, kind: PairKind) -> int:
        """Return how many inputs are of a kind."""
        return sum(pair.kind is kind for pair in self.pairs)

    def check_passed(self) -> None:
        """Raise an error unless the candidate passed.

        Raises:
            RehearsalRefused: it is refused.
            RehearsalUndecided: a person has to decide.
        """
        if self.verdict is Verdict.PASSES:
            return
        said = "; ".join(self.shown.text(reason.text) for reason in self.reasons)
        report = f"see each call with: rollguard rehearse {self.tool_name} FILE --no-fix"
        if self.verdict is Verdict.REFUSED:
            raise RehearsalRefused(
                f"{self.tool_name} was not deployed, since its rehearsal refuses it: {said}; {report}"
            )
        raise RehearsalUndecided(
            f"{self.tool_name} was not deployed, since a person has to decide: {said}; {report}, "
            "and deploy it without a rehearsal if that is what you want"
        )

    def for_author(self) -> list[str]:
        """Return the reasons for the candidate's author, without what calls that were held out say."""
        said = [self.shown.text(reason.text) for reason in self.reasons if not reason.held_out]
        if any(reason.held_out for reason in self.reasons):
            said.append("calls that were held out speak against it")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return the rehearsal as plain values for JSON, without secrets."""
        shown = self.shown
        return {
            "tool_name": self.tool_name,
            "verdict": self.verdict.value,
            "strategy": self.strategy and self.strategy.value,
            "why": self.why,
            **{kind.value: self.count(kind) for kind in PairKind},
            "held_out": sum(pair.call.held_out for pair in self.pairs),
            "moved": sum(pair.moved for pair in self.pairs),
            "unfit": dict(self.unfit),
            "repeated": self.repeated,
            "noise": list(self.noise),
            "p_fixed": self.p_fixed,
            "reasons": [
                {"weight": r.weight.value, "check": r.check, "text": shown.text(r.text), "held_out": r.held_out}
                for r in self.reasons
            ],
            "inputs": [shown.pair(pair) for pair in self.pairs if pair.kind is not PairKind.SAME],
            "test_cases": [
                {
                    "description": str(one.case.get("description", "")),
                    "passed": one.passed,
                    "problem": shown.text(one.problem),
                }
                for one in self.cases
            ],
            "old_sha256": self.old_sha256,
            "new_sha256": self.new_sha256,
        }
