"""Compare two windows by the contract's arithmetic: the drop, its severity and the slowdown, exact at every edge."""

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
    """How large a drop of the success rate is; `none` below the threshold."""

    NONE = "none"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of a deployment's current window with its baseline.

    Attributes:
        has_sufficient_data: whether both windows have at least `min_executions` executions.
        success_rate_change: current rate minus baseline rate, in [-1, 1]; None if a window is empty.
        success_rate_drop: how far the rate fell, in [0, 1]; None if a window is empty.
        duration_change: change of the mean duration as a share of the baseline's (2.0 is 200 % slower); None without
            durations in both windows or with a baseline of 0 ms.
        performance_degradation: whether there is sufficient data and `duration_change` is 2.0 or more.
        regression_detected: whether there is sufficient data and the drop reaches the threshold.
        regression_severity: the contract's band of the drop; `none` without a regression.
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
    """Return the nearest float, or the largest one if the value is too large for a float."""
    if share is None:
        return None
    try:
        return float(share)
    except OverflowError:
        return sys.float_info.max


def grade(drop: Fraction, threshold: Fraction) -> Severity:
    """Return the severity of a drop of the success rate; both arguments are shares in [0, 1].

    15 to 20 points are medium, 20 to 30 high, 30 and more critical. With a threshold below 15 points, smaller drops
    that reach it are medium too. A drop below the threshold is `none`.
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
    severity, duration_change = Severity.NONE, _duration_change(baseline, current)
    if baseline.total and current.total:
        gained = current.successes * baseline.total - baseline.successes * current.total
        change = Fraction(gained, baseline.total * current.total)
        drop = max(Fraction(0), -change)
        if sufficient:
            severity = grade(drop, rules.threshold)
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


def _duration_change(baseline: Window, current: Window) -> Fraction | None:
    """Return by what share the mean duration rose, as an exact fraction of the stored sums."""
    if not (baseline.timed and baseline.duration_sum_ms and current.timed):
        return None
    (before, of_before), (now, of_now) = (w.duration_sum_ms.as_integer_ratio() for w in (baseline, current))
    usual = before * of_now * current.timed
    return Fraction(now * of_before * baseline.timed - usual, usual)
