"""Creeping: versions that are each worse by less than the threshold, and together by more. It is reported, never acts.

Each of k earlier good versions with at least 100 calls is compared with the current calls, at alpha/k. A version is
found if there is evidence that more calls fail than did under it, and the drop reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from rollguard.judge.binomial import clopper_pearson_upper
from rollguard.judge.evidence import Evidence
from rollguard.judge.reasons import points
from rollguard.judge.rules import Rules
from rollguard.judge.windows import Window

FEWEST_CALLS = 100  # of an earlier version
_KEPT = 20  # versions that a session keeps: those whose failure rate is the lowest for sure


@dataclass(frozen=True, slots=True)
class EarlierVersion:
    """The calls of an earlier good version, and how many of them failed."""

    name: str
    calls: int
    failures: int


@dataclass(frozen=True, slots=True)
class EarlierVersions:
    """The earlier good versions of a tool.

    Attributes:
        count: how many have enough calls; alpha is divided by it.
        best: those whose failure rate is the lowest for sure, the lowest observed rate first.
    """

    count: int = 0
    best: tuple[EarlierVersion, ...] = ()

    @classmethod
    def of(cls, versions: Iterable[EarlierVersion], alpha: float) -> Self:
        """Keep the versions with which a comparison can find something, so that each check costs the same."""
        known = [one for one in versions if one.calls >= FEWEST_CALLS]
        if len(known) > _KEPT:
            share = alpha / len(known)
            known.sort(key=lambda one: clopper_pearson_upper(one.calls, one.failures, share))
        return cls(len(known), tuple(sorted(known[:_KEPT], key=lambda one: Fraction(one.failures, one.calls))))

    def to_dict(self) -> dict[str, Any]:
        """Return them as a JSON-safe mapping."""
        return {"count": self.count, "best": [[one.name, one.calls, one.failures] for one in self.best]}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote."""
        best = tuple(EarlierVersion(str(name), int(calls), int(failures)) for name, calls, failures in kept["best"])
        if any(not 0 <= one.failures <= one.calls or one.calls < FEWEST_CALLS for one in best):
            raise ValueError("it holds impossible counts")
        return cls(int(kept["count"]), best)


@dataclass(frozen=True, slots=True)
class Creeping:
    """A version than which a deployment is worse by the threshold or more, with evidence.

    Attributes:
        drop: how far the success rate is below that version's, in [0, 1].
        compared: number of earlier versions that were compared.
    """

    than: EarlierVersion
    drop: Fraction
    compared: int

    @property
    def sentence(self) -> str:
        """Return the reason that it gives, with its numbers."""
        than = f"{self.than.name} ({self.than.failures} of {self.than.calls} calls failed)"
        return (
            f"creeping: the success rate is {points(self.drop)} points below that of {than}, with evidence; "
            f"earlier good versions compared: {self.compared}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-safe mapping, from which `EarlierVersions.from_dict` can find it again."""
        return EarlierVersions(self.compared, (self.than,)).to_dict()


def creeping(earlier: EarlierVersions, current: Window, rules: Rules) -> Creeping | None:
    """Return the earlier version with the highest success rate than which the current calls are worse, or None."""
    if current.total < rules.min_executions:
        return None
    for one in earlier.best:
        drop = Fraction(current.failures, current.total) - Fraction(one.failures, one.calls)
        if drop < rules.threshold:
            return None  # the others failed more
        test = Evidence(one.calls, one.failures, rules.alpha / earlier.count, rules.delta)
        if test.present(current.total, current.failures):
            return Creeping(one, drop, earlier.count)
    return None
