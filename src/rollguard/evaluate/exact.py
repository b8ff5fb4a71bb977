"""Compute exact probabilities of rollbacks for a tool with a known failure rate, by dynamic programming.

The state is the number of failures so far and, with triggers, how many of the latest calls failed in a row. A state
that reaches the rule's line is rolled back. The failures of a baseline of nb calls are Bin(nb, q).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rollguard.errors import InvalidInput
from rollguard.evaluate.boundaries import Line, Lines, lines_of
from rollguard.judge import Rules
from rollguard.judge.triggers import IN_A_ROW

_NEGLIGIBLE = 1e-16  # states less likely than this are dropped


def stopping(lines: Lines, rate: float) -> list[float]:
    """Return P(the rule acts at exactly n calls) for a tool with failure rate `rate`, for n = 0 … horizon.

    Raises:
        InvalidInput: the rate is not in [0, 1].
    """
    _check_rate(rate)
    return _by_counts(lines.counts, rate) if lines.run is None else _by_runs(lines.counts, lines.run, rate)


def _by_counts(line: Line, q: float) -> list[float]:
    keep, least, alive = 1.0 - q, 0, [1.0]  # alive[i]: exactly least + i failures, and still live
    acted = [0.0] * len(line)
    for n in range(1, len(line)):
        alive = [keep * a + q * b for a, b in zip([*alive, 0.0], [0.0, *alive], strict=True)]
        acted[n] = _cut(alive, line[n] - least)
        gone = _trim(alive)
        del alive[:gone]
        least += gone
        if not alive:
            break
    return acted


def _by_runs(line: Line, run_line: Line, q: float) -> list[float]:
    keep, least = 1.0 - q, 0
    alive = [[1.0], *([0.0] for _ in range(IN_A_ROW))]  # by how many of the latest calls failed, then as above
    acted = [0.0] * len(line)
    for n in range(1, len(line)):
        succeeded = [keep * sum(each) for each in zip(*alive, strict=True)]
        once, twice, *longer = ([q * p for p in state] for state in alive)
        failed = [once, twice, [sum(each) for each in zip(*longer, strict=True)]]  # a longer run is still a run
        alive = [[*succeeded, 0.0], *([0.0, *state] for state in failed)]
        acted[n] = math.fsum(_cut(state, line[n] - least) for state in alive[:-1])
        acted[n] += _cut(alive[-1], min(line[n], run_line[n]) - least)
        width = max(len(state) for state in alive)
        alive = [[*state, *([0.0] * (width - len(state)))] for state in alive]
        together = [sum(each) for each in zip(*alive, strict=True)]
        gone = _trim(together)
        alive = [state[gone : len(together)] for state in alive]
        least += gone
        if not together:
            break
    return acted


def _cut(alive: list[float], at: int) -> float:
    """Remove the states at or above `at`, and return their probability."""
    at = max(0, at)
    if at >= len(alive):
        return 0.0
    acted = math.fsum(alive[at:])
    del alive[at:]
    return acted


def _trim(alive: list[float]) -> int:
    """Remove the least likely states at the end, and return how many to remove at the beginning."""
    while alive and alive[-1] < _NEGLIGIBLE:
        alive.pop()
    gone = 0
    while gone < len(alive) and alive[gone] < _NEGLIGIBLE:
        gone += 1
    return gone


def mixed_over_baselines(
    baseline_calls: int, rate: float, chance: Callable[[int], float], *, unseen: float = 1e-9
) -> float:
    """Return the mean of `chance(baseline failures)` over the baselines of a tool with this failure rate.

    The least likely baselines, at most the share `unseen` of all, count with a chance of 1, so that the result is
    never too small.
    """
    _check_rate(rate)
    total = seen = 0.0
    for failures, weight in likely(baseline_calls, rate, unseen):
        total += weight * chance(failures)
        seen += weight
    return min(1.0, total + max(0.0, 1.0 - seen))


def likely(n: int, q: float, unseen: float) -> Iterator[tuple[int, float]]:
    """Yield (k, P(Bin(n, q) = k)), the most likely first, until the rest is at most `unseen`."""
    log_ways = math.lgamma(n + 1)
    log_q, log_keep = (math.log(q) if q else -math.inf), (math.log1p(-q) if q < 1 else -math.inf)

    def weight(k: int) -> float:
        if not 0 <= k <= n:
            return 0.0
        parts = [k * log_q if k else 0.0, (n - k) * log_keep if k < n else 0.0]
        return math.exp(log_ways - math.lgamma(k + 1) - math.lgamma(n - k + 1) + sum(parts))

    high = min(n, int((n + 1) * q))
    low, left = high - 1, 1.0
    at_high, at_low = weight(high), weight(low)
    while left > unseen and (at_high > 0.0 or at_low > 0.0):
        if at_high >= at_low:
            yield high, at_high
            left, high = left - at_high, high + 1
            at_high = weight(high)
        else:
            yield low, at_low
            left, low = left - at_low, low - 1
            at_low = weight(low)


def false_rollback(
    rules: Rules,
    baseline_calls: int,
    rate: float,
    horizon: int,
    *,
    looks: Callable[[int], bool] | None = None,
    unseen: float = 1e-9,
) -> float:
    """Return the probability that an unchanged tool is rolled back within `horizon` calls.

    Args:
        rules: the rules to judge by.
        baseline_calls: calls before the deployment.
        rate: the tool's failure rate, before and after.
        horizon: calls while the deployment is monitored.
        looks: returns whether there is a check at a number of calls; by default at each.
        unseen: share of the possible baselines that may be left out.

    Returns:
        The probability, too large by at most `unseen`.

    Raises:
        InvalidInput: the rate is not in [0, 1].
    """

    def chance(failures: int) -> float:
        lines = lines_of(rules, baseline_calls, failures, horizon)
        return math.fsum(stopping(lines.checked_at(looks) if looks else lines, rate))

    return mixed_over_baselines(baseline_calls, rate, chance, unseen=unseen)


@dataclass(frozen=True, slots=True)
class Delay:
    """The number of calls until a rule acts.

    Attributes:
        found: the probability that it acts within the horizon.
        mean: mean number of calls until it acts, if it acts; None if it never does.
        median, p90: calls within which it acts in half and in nine tenths of all cases; None if it acts in fewer.
    """

    found: float
    mean: float | None
    median: int | None
    p90: int | None


def delay(lines: Lines, rate: float) -> Delay:
    """Return how soon the rule acts on a tool with failure rate `rate` from the deployment on.

    Raises:
        InvalidInput: the rate is not in [0, 1].
    """
    return delay_of(stopping(lines, rate))


def delay_of(acted: list[float]) -> Delay:
    """Return the delay, given P(the rule acts at exactly n calls) for n = 0 …"""
    found = math.fsum(acted)
    mean = math.fsum(n * p for n, p in enumerate(acted)) / found if found > 0.0 else None
    return Delay(min(1.0, found), mean, _within(acted, 0.5), _within(acted, 0.9))


def _within(acted: list[float], share: float) -> int | None:
    so_far = 0.0
    for n, p in enumerate(acted):
        so_far += p
        if so_far >= share:
            return n
    return None


def _check_rate(rate: float) -> None:
    if not 0.0 <= rate <= 1.0:
        raise InvalidInput(f"rate: {rate!r} is not a failure rate from 0 to 1")
