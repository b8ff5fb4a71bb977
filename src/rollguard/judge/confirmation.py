"""Confirm what the evidence rule found: the old version serves half of the calls, and their comparison decides. Pure.

The evidence rule compares after with before, so an outage that no other tool shows looks like a bad version. With
`confirm = "concurrent"` it does not roll back. It has both versions serve, and `rollguard.judge.concurrent` rolls back.
At the bound without an answer the rollback is held, or made on the evidence before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from rollguard.judge.evidence import Evidence
from rollguard.judge.policy import RollbackType
from rollguard.judge.rules import Rules


class Stand(StrEnum):
    """Where the confirmation of a deployment stands when the evidence rule would act."""

    POSSIBLE = "possible"
    """Both versions may serve from now on."""
    IMPOSSIBLE = "impossible"
    """They cannot serve at once."""
    HELD = "held"
    """They did up to the bound, without an answer, and the rollback is held."""
    EXTERNAL = "external"
    """The old version alone went on failing as well."""
    EXHAUSTED = "exhausted"
    """They did up to the bound, without an answer, and the rules then roll back."""


_ACTS = (Stand.IMPOSSIBLE, Stand.EXHAUSTED)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Where the confirmation stands, and why, as a sentence."""

    stand: Stand
    sentence: str

    @property
    def acts(self) -> bool:
        """Return whether the evidence before and after rolls back all the same."""
        return self.stand in _ACTS

    def to_dict(self) -> dict[str, str]:
        """Return it as a JSON-safe mapping, for the decision record."""
        return {"stand": str(self.stand), "sentence": self.sentence}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote."""
        return cls(Stand(kept["stand"]), kept["sentence"])


def is_to_confirm(rules: Rules, kind: RollbackType | None, *, evidence: bool) -> bool:
    """Return whether a rollback of this kind is confirmed before it is made.

    Args:
        evidence: whether there is evidence before and after. A trigger that acts alone is not confirmed.
    """
    return rules.confirms and evidence and kind in (RollbackType.EVIDENCE, RollbackType.FAST)


def fails_alone(rules: Rules, baseline: tuple[int, int], units: int, failures: int) -> bool:
    """Return whether the counts of the old version are themselves evidence that more calls fail than before.

    Args:
        baseline: executions and failures of the baseline.
    """
    return Evidence(*baseline, rules.alpha_of_each(), rules.delta).present(units, failures)
