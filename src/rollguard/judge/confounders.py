"""Confounders: what else may explain the failures of a deployed version.

Rollguard considers the tool itself in the hour before its deployment, other tools and other versions of the tool in
the same minutes, and failures of other tools with the same error. It tests each of them with the evidence rule
(`rollguard.judge.evidence`): does it fail more than before? If so, the confounder is affected. Rollguard removes the
minutes, errors or hour of the affected confounders and judges the rest again. If the rest calls for no rollback, the
confounders explain the failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from rollguard.judge.binomial import binomial_cdf
from rollguard.judge.evidence import Evidence
from rollguard.judge.windows import Window

ALPHA = 0.01  # for all confounders of a check together: stricter than the verdict that they may stop
SUSPICION = 0.05
KINDS = ("hour_before", "other_version", "other_tool", "shared_error")


@dataclass(frozen=True, slots=True)
class Confounder:
    """Something that may have failed in the same minutes as the tool.

    Attributes:
        kind: one of `KINDS`.
        name: the tool's name, or the error's signature.
        before: its executions before the deployment.
        during: its executions while the tool failed. For a `shared_error` only failures with that error count.
        asked: number of confounders considered at this check; alpha is divided by it.
    """

    kind: str
    name: str
    before: Window
    during: Window
    asked: int = 1

    @property
    def is_affected(self) -> bool:
        """Return whether it fails more than before, by the evidence rule."""
        test = Evidence(self.before.total, self.before.failures, ALPHA / max(1, self.asked))
        return test.present(self.during.total, self.during.failures)

    def to_dict(self) -> dict[str, Any]:
        """Return the confounder as a JSON-safe mapping."""
        windows = {"before": _counts(self.before), "during": _counts(self.during)}
        return {"kind": self.kind, "name": self.name, **windows, "asked": self.asked}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the confounder that `to_dict` wrote."""
        windows = {"before": Window(*kept["before"]), "during": Window(*kept["during"])}
        return cls(**{**kept, **windows})

    @property
    def sentence(self) -> str:
        """Return the reason that it gives, with its numbers."""
        what = {
            "hour_before": "the tool failed already in the hour before the deployment",
            "other_version": "other versions of the tool fail too in the same minutes",
            "other_tool": f"{self.name} fails too in the same minutes",
            "shared_error": f"other tools show the same error ({self.name})",
        }[self.kind]
        return f"{what}: {_share(self.during)}, {_share(self.before)} before"


@dataclass(frozen=True, slots=True)
class Confounders:
    """The confounders of one decision.

    Attributes:
        considered: the confounders; only the affected ones explain failures.
        baseline: what `rest` is compared with: the baseline, or the hour before the deployment if it already failed.
        rest: the current window without the failures that the confounders explain.
    """

    considered: tuple[Confounder, ...]
    baseline: Window
    rest: Window

    def to_dict(self) -> dict[str, Any]:
        """Return the confounders as a JSON-safe mapping for the decision record."""
        return {
            "witnesses": [confounder.to_dict() for confounder in self.considered],  # the key of stored records
            "baseline": self.baseline.to_dict(),
            "rest": self.rest.to_dict(),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the confounders that `to_dict` wrote."""
        considered = tuple(Confounder.from_dict(confounder) for confounder in kept["witnesses"])
        return cls(considered, Window.from_dict(kept["baseline"]), Window.from_dict(kept["rest"]))


def worst_interval(series: Sequence[tuple[int, int]], usual: Fraction) -> tuple[int, int] | None:
    """Return the interval [first, end) of minutes whose failures exceed the allowed number the most.

    Args:
        series: (executions, failures) of each minute.
        usual: the usual failure rate. The allowed rate is the larger of twice that and five points more, but at most
            half-way to total failure.

    Returns:
        None if no minute has more failures than allowed.
    """
    return largest_excess(series, min(max(2 * usual, usual + Fraction(5, 100)), (usual + 1) / 2))


def largest_excess(series: Sequence[tuple[int, int]], allowed: Fraction) -> tuple[int, int] | None:
    """Return the [first, end) with the largest sum of `failures - allowed * executions` (Kadane's algorithm)."""
    best, found, total, start = Fraction(0), None, Fraction(0), 0
    for minute, (executions, failures) in enumerate(series):
        if total <= 0:
            total, start = Fraction(0), minute
        total += failures - allowed * executions
        if total > best:
            best, found = total, (start, minute + 1)
    return found


def confounder_baseline(usual: Window, latest: Window) -> Window:
    """Return what a confounder is compared with: its usual executions, or its latest ones if these failed more.

    A confounder that failed while the tool was still healthy has a problem of its own. Its latest executions failed
    more if so many failures have a probability of at most 5 % at its usual rate, taken as (f + 1) / (n + 2).

    Args:
        usual: its executions before the deployment.
        latest: its latest executions while the tool was still healthy.
    """
    rate = (usual.failures + 1) / (usual.total + 2)
    more = latest.total > 0 and binomial_cdf(latest.total, 1.0 - rate, latest.successes) <= SUSPICION
    return latest if more else usual


def is_over(problem: Window, afterwards: Window) -> bool:
    """Return whether a problem has ended: at its failure rate, so few later failures have a probability of 1 % or less.

    Args:
        problem: the executions during the problem.
        afterwards: the executions after it, or before it.
    """
    rate = (problem.failures + 0.5) / (problem.total + 1)
    return afterwards.total > 0 and binomial_cdf(afterwards.total, rate, afterwards.failures) <= ALPHA


def widened_interval(series: Sequence[Window], problem: tuple[int, int], most: int) -> tuple[int, int]:
    """Return the [first, end) that a problem may cover: up to where calls show that it had ended, or not begun.

    Minutes without calls belong to the problem, because they prove nothing.

    Args:
        series: the confounder's executions of each minute.
        problem: [first, end) of its failures, as `worst_interval` returns it.
        most: most minutes to add on each side.
    """
    first, end = problem
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
