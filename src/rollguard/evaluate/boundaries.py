"""The line that a rule draws: for each number of calls, the fewest failures at which it acts.

The rule (`rollguard.judge.policy`) acts on `f` failures of `n` calls whenever it acts on fewer, so that its line is all
there is to it. Rollbacks for slowness are left out: they do not depend on failures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rollguard.judge import Evidence, Rules
from rollguard.judge.policy import Way, ways

Line = list[int]
Looks = Callable[[int], bool]


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

    def looked_at(self, looks: Looks) -> Lines:
        """The same rule, which acts only at the numbers of calls that it is looked at."""
        return Lines(_where(looks, self.counts), None if self.run is None else _where(looks, self.run))


def lines_of(
    rules: Rules, baseline_calls: int, baseline_failures: int, horizon: int, *, scheduled: Looks | None = None
) -> Lines:
    """The lines of the rules before a baseline of these counts.

    Args:
        scheduled: the numbers of calls at which the schedule looks; all by default. What does not wait for the schedule
            is looked at after every call.
    """
    nb, fb, known = baseline_calls, baseline_failures, ways(rules)
    evident = _never(horizon)
    if any(way.evidence for way in known) and nb >= rules.min_executions:
        evident = Evidence(nb, fb, rules.success_alpha, rules.delta).boundary(horizon)

    def line(way: Way) -> Line:
        fewest = [way.fewest(nb, fb, n, evident[n]) for n in range(horizon + 1)]
        return _where(scheduled, fewest) if way.scheduled and scheduled is not None else fewest

    by_counts = [line(way) for way in known if not way.slowdown and not way.trigger]
    by_run = [line(way) for way in known if way.trigger]
    return Lines(_lowest(by_counts, horizon), _lowest(by_run, horizon) if by_run else None)


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


def _lowest(lines: list[Line], horizon: int) -> Line:
    return [min(each) for each in zip(_never(horizon), *lines, strict=True)]


def _where(looks: Looks, line: Line) -> Line:
    return [least if looks(n) else n + 1 for n, least in enumerate(line)]
