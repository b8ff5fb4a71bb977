"""The line that a rule draws: for each number of calls, the fewest failures at which it acts.

Every rule here acts on `f` failures of `n` calls whenever it acts on fewer, so that its line is all there is to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from rollguard.judge import Evidence, Rules
from rollguard.judge.comparison import CRITICAL_DROP

IN_A_ROW = 3  # failures in a row that are a fast trigger
SOONER_CALLS, SOONER_DROP = 5, CRITICAL_DROP  # a critical drop that is proved need not wait for `min_executions`

Line = list[int]


class Decision(StrEnum):
    """What rolls back: the contract's threshold, or evidence as well."""

    THRESHOLD = "threshold"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Lines:
    """A rule before one baseline. A number above n means: not at n calls, whatever failed.

    Attributes:
        counts: the fewest failures of n calls at which it acts, for n = 0 … horizon.
        run: the same where the latest calls failed `IN_A_ROW` times in a row; None for a rule without triggers.
    """

    counts: Line
    run: Line | None = None

    @property
    def horizon(self) -> int:
        """The most calls that are followed."""
        return len(self.counts) - 1

    def looked_at(self, looks: Callable[[int], bool]) -> Lines:
        """The same rule, which acts only at the numbers of calls that it is looked at."""
        counts = [least if looks(n) else n + 1 for n, least in enumerate(self.counts)]
        run = None if self.run is None else [least if looks(n) else n + 1 for n, least in enumerate(self.run)]
        return Lines(counts, run)


def lines_of(
    decision: Decision,
    baseline_calls: int,
    baseline_failures: int,
    rules: Rules,
    horizon: int,
    *,
    triggers: bool = False,
) -> Lines:
    """The lines of the contract's rule or of the evidence rule before a baseline of these counts.

    Args:
        triggers: whether three failures in a row act too, together with the evidence.
    """
    nb, fb = baseline_calls, baseline_failures
    dropped = drop_line(nb, fb, rules.threshold, horizon, least_calls=rules.min_executions)
    if nb < rules.min_executions:
        return Lines(_never(horizon))
    if decision is Decision.THRESHOLD and not triggers:
        return Lines(dropped)
    evidence = Evidence(nb, fb, rules.alpha, rules.delta).boundary(horizon)
    run = evidence if triggers else None
    if decision is Decision.THRESHOLD:
        return Lines(dropped, run)
    sooner = drop_line(nb, fb, max(SOONER_DROP, rules.threshold), horizon, least_calls=SOONER_CALLS)
    either = [min(a, b) for a, b in zip(dropped, sooner, strict=True)]
    return Lines([max(a, b) for a, b in zip(evidence, either, strict=True)], run)


def drop_line(nb: int, fb: int, drop: Fraction, horizon: int, *, least_calls: int) -> Line:
    """The fewest failures with which the success rate fell by `drop` or more, in integers: exact at every edge."""
    if nb < 1:
        return _never(horizon)
    a, b = drop.numerator, drop.denominator
    over, under = fb * b + a * nb, nb * b  # f / n >= fb / nb + a / b
    return [-(-n * over // under) if n >= least_calls else n + 1 for n in range(horizon + 1)]


def sprt_line(before: float, after: float, alpha: float, horizon: int) -> Line:
    """Wald's one-sided sequential probability ratio test, which knows both failure rates: none is much faster."""
    if not 0.0 < before < after < 1.0:
        return _line_of_certainty(before, after, alpha, horizon)
    up, down = math.log(after / before), math.log1p(-after) - math.log1p(-before)
    return [math.ceil((-math.log(alpha) - n * down) / (up - down)) for n in range(horizon + 1)]


def _line_of_certainty(before: float, after: float, alpha: float, horizon: int) -> Line:
    """Where every call fails afterwards, only an unbroken run of failures speaks for it."""
    if not (0.0 < before < after == 1.0):
        return _never(horizon)
    enough = math.ceil(math.log(alpha) / math.log(before))
    return [n if n >= enough else n + 1 for n in range(horizon + 1)]


def _never(horizon: int) -> Line:
    return [n + 1 for n in range(horizon + 1)]
