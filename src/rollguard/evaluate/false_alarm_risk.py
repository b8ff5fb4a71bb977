"""Compute the probability that rules roll back an unchanged tool, at its own success rate and volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

from rollguard.evaluate.boundaries import lines_of
from rollguard.evaluate.exact import mixed_over_baselines, stopping
from rollguard.judge import Rules
from rollguard.judge.triggers import IN_A_ROW

_UNSEEN = 1e-6
WORK = 20_000_000  # steps of the computation for one tool: a few seconds
_FEWEST_BASELINES = 9


@dataclass(frozen=True, slots=True)
class Risk:
    """The probability that an unchanged tool is rolled back within one session.

    Attributes:
        probability: the probability; too large by at most a millionth if it is exact.
        exact: False if not all calls, or not all possible baselines, were computed. The other baselines are
            interpolated.
        calls: the number of calls that were computed, from the deployment on.
    """

    probability: float
    exact: bool
    calls: int


@lru_cache(maxsize=4_096)
def false_alarm(rules: Rules, baseline_calls: int, rate: float, calls: int, checks: int, *, work: int = WORK) -> Risk:
    """Return the risk of one session.

    Assumptions: three failures in a row lie within five minutes, which overstates the risk of a tool with few calls.
    They act at the call that ends them, while the monitor remembers them for ten minutes. There are no confounders,
    and no rollbacks for slowdowns.

    Args:
        rules: the rules to judge by.
        baseline_calls: calls before the deployment.
        rate: the tool's failure rate, before and after.
        calls: calls within the session.
        checks: number of scheduled checks within the session.
        work: approximate limit of the steps of the computation; if it needs more, the result is not exact.

    Raises:
        InvalidInput: the rate is not in [0, 1].
    """
    width = 16 + int(12 * math.sqrt(calls * rate * (1.0 - rate)))
    states = 1 if rules.fast_triggers == "off" else IN_A_ROW + 1
    followed = min(calls, max(1, work // (width * states * _FEWEST_BASELINES)))
    per_check = max(1, round(calls / max(1, checks)))
    room = max(_FEWEST_BASELINES, work // max(1, followed * width * states))
    likely = 1 + int(10 * math.sqrt(baseline_calls * rate * (1.0 - rate)))
    step = max(1, math.ceil(likely / room))

    @cache
    def chance(failures: int) -> float:
        lines = lines_of(rules, baseline_calls, failures, followed, scheduled=lambda n: n % per_check == 0)
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
