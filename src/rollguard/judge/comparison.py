"""The contract's arithmetic: two windows in, the drop, its severity and the slowdown out. Exact at every edge."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from rollguard.judge.rules import Rules
from rollguard.judge.windows import Window

HIGH_DROP = Fraction(20, 100)
CRITICAL_DROP = Fraction(30, 100)
SLOWDOWN = Fraction(2)  # "200 % slower": the mean takes three times as long


class Severity(StrEnum):
    """How bad a drop is. `none` for a drop below the threshold."""

    NONE = "none"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A deployment's current window against its baseline.

    Attributes:
        has_sufficient_data: both windows hold at least `min_executions` executions.
        success_rate_change: current rate minus baseline rate; None when a window is empty.
        success_rate_drop: how far the rate fell, 0 or more; None when a window is empty.
        duration_change: how much longer the mean call takes, as a share of the baseline's (2.0 is 200 % slower);
            None without durations on both sides or with a baseline of 0 ms.
        performance_degradation: sufficient data, and `duration_change` is 2.0 or more.
        regression_detected: sufficient data, and the drop reaches the threshold.
        regression_severity: the contract's band of the drop; `none` when no regression was detected.
    """

    baseline: Window
    current: Window
    has_sufficient_data: bool
    success_rate_change: Fraction | None
    success_rate_drop: Fraction | None
    duration_change: Fraction | None
    performance_degradation: bool
    regression_detected: bool
    regression_severity: Severity


def as_float(share: Fraction | None) -> float | None:
    """The nearest float; the largest one for what no float can hold."""
    if share is None:
        return None
    try:
        return float(share)
    except OverflowError:
        return sys.float_info.max


def grade(drop: Fraction, threshold: Fraction) -> Severity:
    """Severity of a drop of the success rate.

    15 to 20 points is medium, 20 to 30 high, 30 and more critical. A threshold below 15 points makes smaller drops
    that reach it medium; below the threshold nothing is graded.
    """
    if drop <= 0 or drop < threshold:
        return Severity.NONE
    if drop >= CRITICAL_DROP:
        return Severity.CRITICAL
    return Severity.HIGH if drop >= HIGH_DROP else Severity.MEDIUM


def compare(baseline: Window, current: Window, rules: Rules) -> Comparison:
    """Compare two windows under `rules`. Rates are exact fractions: 95/100 against 8/10 is a drop of exactly 0.15."""
    sufficient = min(baseline.total, current.total) >= rules.min_executions
    change = drop = None
    severity = Severity.NONE
    before, now = baseline.rate, current.rate
    if before is not None and now is not None:
        change = now - before
        drop = max(Fraction(0), -change)
        if sufficient:
            severity = grade(drop, rules.threshold)
    duration_change = None
    usual, mean = baseline.mean_duration, current.mean_duration
    if usual and mean is not None:
        duration_change = mean / usual - 1
    return Comparison(
        baseline=baseline,
        current=current,
        has_sufficient_data=sufficient,
        success_rate_change=change,
        success_rate_drop=drop,
        duration_change=duration_change,
        performance_degradation=sufficient and duration_change is not None and duration_change >= SLOWDOWN,
        regression_detected=severity is not Severity.NONE,
        regression_severity=severity,
    )
