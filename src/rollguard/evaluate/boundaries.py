"""Compute the line of a rule: for each number of calls, the fewest failures at which it acts.

If the rule (`rollguard.judge.policy`) acts on some failures of `n` calls, it acts on more failures too. So the line
describes it completely. Rollbacks for slowdowns are left out, because they do not depend on failures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rollguard.judge import Evidence, Rules
from rollguard.judge.policy import Way, ways

Line = list[int]
CheckedAt = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a rule for one baseline. A number above n means that it never acts at n calls.

    Attributes:
        counts: the fewest failures of n calls at which it acts, for n = 0 … horizon.
        run: the same if the latest `IN_A_ROW` calls failed; None for a rule without triggers.
    """

    counts: Line
    run: Line | None = None

    @property
    def horizon(self) -> int:
        """Return the largest number of calls."""
        return len(self.counts) - 1

    def checked_at(self, at: CheckedAt) -> Lines:
        """Return the lines of the same rule if it is checked only at these numbers of calls."""
        return Lines(_only_at(at, self.counts), None if self.run is None else _only_at(at, self.run))


def lines_of(
    rules: Rules, baseline_calls: int, baseline_failures: int, horizon: int, *, scheduled: CheckedAt | None = None
) -> Lines:
    """Return the lines of the rules for a baseline with these counts.

    Args:
        baseline_calls, baseline_failures: the counts of the baseline.
        horizon: the largest number of calls.
        scheduled: returns whether the schedule makes a check at a number of calls; by default at each. Ways to act
            that do not wait for the schedule are checked after every call.
    """
    nb, fb, known = baseline_calls, baseline_failures, ways(rules)
    evident = _never(horizon)
    if any(way.evidence for way in known) and nb >= rules.min_executions:
        evident = Evidence(nb, fb, rules.alpha_of_each(), rules.delta).boundary(horizon)

    def line(way: Way) -> Line:
        fewest = [way.fewest(nb, fb, n, evident[n]) for n in range(horizon + 1)]
        return _only_at(scheduled, fewest) if way.scheduled and scheduled is not None else fewest

    by_counts = [line(way) for way in known if not way.slowdown and not way.trigger]
    by_run = [line(way) for way in known if way.trigger]
    return Lines(_lowest(by_counts, horizon), _lowest(by_run, horizon) if by_run else None)


def sprt_line(before: float, after: float, alpha: float, horizon: int) -> Line:
    """Return the line of Wald's one-sided sequential probability ratio test.

    It knows both failure rates, `before` and `after`, so hardly any test is faster.
    """
    if not 0.0 < before < after < 1.0:
        return _line_of_total_failure(before, after, alpha, horizon)
    up, down = math.log(after / before), math.log1p(-after) - math.log1p(-before)
    return [math.ceil((-math.log(alpha) - n * down) / (up - down)) for n in range(horizon + 1)]


def _line_of_total_failure(before: float, after: float, alpha: float, horizon: int) -> Line:
    """Return the line if every call fails afterwards: then only an unbroken run of failures is evidence."""
    if not (0.0 < before < after == 1.0):
        return _never(horizon)
    enough = math.ceil(math.log(alpha) / math.log(before))
    return [n if n >= enough else n + 1 for n in range(horizon + 1)]


def _never(horizon: int) -> Line:
    return [n + 1 for n in range(horizon + 1)]


def _lowest(lines: list[Line], horizon: int) -> Line:
    return [min(each) for each in zip(_never(horizon), *lines, strict=True)]


def _only_at(at: CheckedAt, line: Line) -> Line:
    return [least if at(n) else n + 1 for n, least in enumerate(line)]
