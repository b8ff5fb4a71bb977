"""How likely rules roll back a tool that did not change, at its own success rate and volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

from rollguard.evaluate.boundaries import lines_of
from rollguard.evaluate.exact import mixed_over_baselines, stopping
from rollguard.judge import Rules
from rollguard.judge.triggers import IN_A_ROW

_UNSEEN = 1e-6
WORK = 20_000_000  # steps of the computation for one tool: some seconds
_FEWEST_BASELINES = 9


@dataclass(frozen=True, slots=True)
class Risk:
    """The probability that an unchanged tool is rolled back within one watch.

    Attributes:
        probability: of it; too large by at most a millionth where it is exact.
        exact: False where not all calls were followed, or not all possible baselines worked out: the others are taken
            to lie between those that were.
        calls: how many calls were followed, from the deployment on.
    """

    probability: float
    exact: bool
    calls: int


@lru_cache(maxsize=4_096)
def false_alarm(rules: Rules, baseline_calls: int, rate: float, calls: int, looks: int, *, work: int = WORK) -> Risk:
    """The risk of one watch.

    Three failures in a row are taken to lie within five minutes, which makes the risk of a tool that is called seldom
    look larger than it is, and to act at the call that ends them, where the monitor remembers them for ten minutes.
    Nothing else is taken to explain failures, and rollbacks for slowness are left out.

    Args:
        baseline_calls: calls before the deployment.
        rate: the tool's failure rate, before and after.
        calls: calls within the watch.
        looks: how often the schedule looks meanwhile.
        work: how many steps the computation may take, about; what is too much for that is not exact.

    Raises:
        InvalidInput: the rate is none.
    """
    width = 16 + int(12 * math.sqrt(calls * rate * (1.0 - rate)))
    states = 1 if rules.fast_triggers == "off" else IN_A_ROW + 1
    followed = min(calls, max(1, work // (width * states * _FEWEST_BASELINES)))
    per_look = max(1, round(calls / max(1, looks)))
    room = max(_FEWEST_BASELINES, work // max(1, followed * width * states))
    likely = 1 + int(10 * math.sqrt(baseline_calls * rate * (1.0 - rate)))
    step = max(1, math.ceil(likely / room))

    @cache
    def chance(failures: int) -> float:
        lines = lines_of(rules, baseline_calls, failures, followed, scheduled=lambda n: n % per_look == 0)
        return math.fsum(stopping(lines, rate))

    def between(failures: int) -> float:
        low = failures - failures % step
        if low == failures:
            return chance(failures)
        high = min(baseline_calls, low + step)
        return chance(low) + (chance(high) - chance(low)) * (failures - low) / (high - low)

    if not calls or baseline_calls < 1:
        return Risk(probability=0.0, exact=True, calls=0)
    probability = mixed_over_baselines(baseline_calls, rate, between, unseen=_UNSEEN)
    return Risk(probability, step == 1 and followed == calls, followed)
