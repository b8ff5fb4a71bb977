"""Say whether failures are more frequent among some calls than among the others. Pure.

References: Fisher 1922 (the exact test of a table of two by two). Benjamini & Hochberg 1995 (q-values). Newcombe 1998,
*Interval estimation for the difference between independent proportions*, method 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z = 1.6448536269514722  # one-sided 95 %
_NEGLIGIBLE = 1e-12  # relative size of a term


def exact_p(failures_in: int, calls_in: int, failures: int, calls: int) -> float:
    """Return the chance of so many failures or more among `calls_in` calls drawn from `calls` with `failures`."""
    least, most = max(0, calls_in + failures - calls), min(calls_in, failures)
    if failures_in <= least:
        return 1.0
    others = calls - failures
    log_first = (
        _log_choose(failures, failures_in) + _log_choose(others, calls_in - failures_in) - _log_choose(calls, calls_in)
    )
    term = total = 1.0
    for k in range(failures_in, most):
        term *= (failures - k) * (calls_in - k) / ((k + 1) * (others - calls_in + k + 1))
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return min(1.0, math.exp(log_first) * total)


def q_values(p_values: Sequence[float], tests: int) -> list[float]:
    """Return the Benjamini-Hochberg q-value of each p-value.

    Args:
        p_values: some of the p-values, among them the smallest.
        tests: number of tests that were made in all.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found = [1.0] * len(p_values)
    least = 1.0
    for rank in range(len(order), 0, -1):
        place = order[rank - 1]
        least = min(least, p_values[place] * max(tests, len(order)) / rank)
        found[place] = least
    return found


def least_difference(failures_in: int, calls_in: int, failures_out: int, calls_out: int, z: float = _Z) -> float:
    """Return a lower 95 % confidence bound of the risk difference: the failure rate inside minus that outside."""
    rate_in, low_in, _ = _wilson(failures_in, calls_in, z)
    rate_out, _, high_out = _wilson(failures_out, calls_out, z)
    return rate_in - rate_out - math.hypot(rate_in - low_in, high_out - rate_out)


def _wilson(failures: int, calls: int, z: float) -> tuple[float, float, float]:
    """Return a rate and its confidence bounds; without calls it could be anything."""
    if not calls:
        return 0.0, 0.0, 1.0
    rate, squared = failures / calls, z * z
    centre = (rate + squared / (2 * calls)) / (1 + squared / calls)
    half = z / (1 + squared / calls) * math.sqrt(rate * (1 - rate) / calls + squared / (4 * calls * calls))
    return rate, max(0.0, centre - half), min(1.0, centre + half)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
