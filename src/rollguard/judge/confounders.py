"""Is it the deployment's fault? What else happened in the minutes in which a tool failed.

Witnesses are asked: the tool itself in the hour before its deployment, other tools and other versions of the tool in
the same minutes, and other tools' failures with the very error that ours show. Each is tested as the tool itself is
(`rollguard.judge.evidence`): does it fail more than it did before? Of those that do, the minutes (or the errors, or
the hour) are taken out, and what is left is judged again. If that would not act, something else explains the failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from rollguard.judge.binomial import binomial_cdf
from rollguard.judge.evidence import Evidence
from rollguard.judge.windows import Window

ALPHA = 0.01  # spent on all witnesses of a look together: a witness must be surer than the verdict it stops
SUSPICION = 0.05
KINDS = ("hour_before", "other_version", "other_tool", "shared_error")


@dataclass(frozen=True, slots=True)
class Witness:
    """One that may have failed in the same minutes.

    Attributes:
        kind: one of `KINDS`.
        name: the tool's name, or the error's signature.
        before: its executions before the deployment.
        during: its executions in the minutes in question. For a `shared_error` failures are those with that error.
        asked: how many witnesses were considered at this look; their number divides alpha.
    """

    kind: str
    name: str
    before: Window
    during: Window
    asked: int = 1

    @property
    def testifies(self) -> bool:
        """Whether it fails more than before."""
        test = Evidence(self.before.total, self.before.failures, ALPHA / max(1, self.asked))
        return test.present(self.during.total, self.during.failures)

    def to_dict(self) -> dict[str, Any]:
        """The witness as a JSON-safe mapping."""
        windows = {"before": _counts(self.before), "during": _counts(self.during)}
        return {"kind": self.kind, "name": self.name, **windows, "asked": self.asked}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """The witness that `to_dict` described."""
        windows = {"before": Window(*kept["before"]), "during": Window(*kept["during"])}
        return cls(**{**kept, **windows})

    @property
    def sentence(self) -> str:
        """What it says, in words and numbers."""
        what = {
            "hour_before": "the tool failed already in the hour before the deployment",
            "other_version": "other versions of the tool fail too in the same minutes",
            "other_tool": f"{self.name} fails too in the same minutes",
            "shared_error": f"other tools show the same error ({self.name})",
        }[self.kind]
        return f"{what}: {_share(self.during)}, {_share(self.before)} before"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else happened, as far as it matters to one decision.

    Attributes:
        witnesses: those that were asked and had something to say.
        baseline: what the rest is compared with: the baseline or, where the tool failed before already, that hour.
        rest: the current window without what the witnesses explain.
    """

    witnesses: tuple[Witness, ...]
    baseline: Window
    rest: Window

    def to_dict(self) -> dict[str, Any]:
        """The surroundings as a JSON-safe mapping, to be kept with what was decided from them."""
        return {
            "witnesses": [witness.to_dict() for witness in self.witnesses],
            "baseline": self.baseline.to_dict(),
            "rest": self.rest.to_dict(),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """The surroundings that `to_dict` described."""
        witnesses = tuple(Witness.from_dict(witness) for witness in kept["witnesses"])
        return cls(witnesses, Window.from_dict(kept["baseline"]), Window.from_dict(kept["rest"]))


def worst_stretch(series: Sequence[tuple[int, int]], usual: Fraction) -> tuple[int, int] | None:
    """The neighbouring minutes that hold the trouble: [first, end) where the failures exceed the allowed by most.

    Args:
        series: (executions, failures) of each minute.
        usual: the failure rate that is usual. Twice as much is allowed, or five points more, if that is more, and never
            more than half-way to total failure.

    Returns:
        None where no minute has more failures than allowed.
    """
    return largest_excess(series, min(max(2 * usual, usual + Fraction(5, 100)), (usual + 1) / 2))


def largest_excess(series: Sequence[tuple[int, int]], allowed: Fraction) -> tuple[int, int] | None:
    """[first, end) of a series where the sum of `failures - allowed * executions` is largest (Kadane's algorithm)."""
    best, found, total, start = Fraction(0), None, Fraction(0), 0
    for minute, (executions, failures) in enumerate(series):
        if total <= 0:
            total, start = Fraction(0), minute
        total += failures - allowed * executions
        if total > best:
            best, found = total, (start, minute + 1)
    return found


def held_against(usual: Window, lately: Window) -> Window:
    """What a witness is compared with: its usual executions or, where those failed more lately, its latest ones.

    Args:
        usual: its executions before the deployment.
        lately: its executions while the tool in question was still well.

    A witness that failed already while that tool was well tells of a trouble of its own. It failed lately where so many
    failures would come with a probability of at most 5 % at its usual rate (taken as (f + 1) / (n + 2)).
    """
    rate = (usual.failures + 1) / (usual.total + 2)
    more = lately.total > 0 and binomial_cdf(lately.total, 1.0 - rate, lately.successes) <= SUSPICION
    return lately if more else usual


def is_over(trouble: Window, afterwards: Window) -> bool:
    """Whether a trouble had passed: at its rate so few failures afterwards come with a probability of at most 1 %."""
    rate = (trouble.failures + 0.5) / (trouble.total + 1)
    return afterwards.total > 0 and binomial_cdf(afterwards.total, rate, afterwards.failures) <= ALPHA


def extent(series: Sequence[Window], trouble: tuple[int, int], most: int) -> tuple[int, int]:
    """How far a trouble may reach: on either side up to where it is known that it had passed, or not begun.

    A witness that is seldom called says nothing of the minutes between its calls.

    Args:
        series: the witness's executions of each minute.
        trouble: [first, end) of its own failures, as `worst_stretch` finds it.
        most: minutes by which it is widened on either side at most.
    """
    first, end = trouble
    during = sum(series[first:end], Window())
    before = after = Window()
    earliest, latest = max(0, first - most), min(len(series), end + most)
    while first > earliest and not is_over(during, before):
        first -= 1
        before += series[first]
    while end < latest and not is_over(during, after):
        after += series[end]
        end += 1
    return first, end


def _counts(window: Window) -> list[int]:
    return [window.total, window.successes]


def _share(window: Window) -> str:
    return f"{window.failures} of {window.total}"
