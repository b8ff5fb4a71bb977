"""The settings a judgement is made by, and their allowed ranges: the only place that states them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Self

from rollguard.errors import InvalidSetting

_INT_RANGES = {
    "monitoring_window_hours": (1, 8760, "hours"),
    "baseline_window_days": (1, 365, "days"),
    "min_executions": (1, 1_000_000, "executions"),
    "max_rollbacks_per_day": (0, 1_000, "rollbacks"),
}
_MODES = ("act", "observe")


@dataclass(frozen=True, slots=True)
class Rules:
    """How one deployment is watched and judged. The defaults are the contract's.

    Attributes:
        monitoring_window_hours: how long a deployment is watched, in whole hours (1 to 8760).
        baseline_window_days: how far before the deployment the baseline reaches, in whole days (1 to 365).
        regression_threshold: drop of the success rate that is a regression, above 0 and at most 1 (0.15 is 15
            percentage points).
        min_executions: executions that both windows need before they are compared (at least 1).
        alpha: bound on the probability that the evidence rule ever calls an unchanged tool worse (above 0, below 0.5).
        delta: rise of the failure rate that the evidence rule forgives (0 or more, below 1).
        mode: "act" rolls a regression back; "observe" records and alerts what would be done, and does nothing.
        max_rollbacks_per_day: automatic rollbacks of one tool in 24 hours (0 to 1000; 0 is no limit). Past it the
            decision is recorded and people are told, and nothing is done.

    Raises:
        InvalidSetting: a value is of the wrong type or outside its range; the message names both.
    """

    monitoring_window_hours: int = 24
    baseline_window_days: int = 7
    regression_threshold: float = 0.15
    min_executions: int = 10
    alpha: float = 0.05
    delta: float = 0.0
    mode: str = "act"
    max_rollbacks_per_day: int = 3

    def __post_init__(self) -> None:
        for key, (low, high, unit) in _INT_RANGES.items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InvalidSetting(key, f"{value!r} is not a whole number of {unit} from {low} to {high}")
        _check_share("regression_threshold", self.regression_threshold, 0.0, 1.0, "above 0 and at most 1")
        _check_share("alpha", self.alpha, 0.0, math.nextafter(0.5, 0.0), "above 0 and below 0.5")
        if self.delta != 0:
            _check_share("delta", self.delta, 0.0, math.nextafter(1.0, 0.0), "at least 0 and below 1")
        if self.mode not in _MODES:
            raise InvalidSetting("mode", f"{self.mode!r} is not one of {', '.join(_MODES)}")
        # Stored as floats so that a record of the rules reads back as it was written.
        object.__setattr__(self, "regression_threshold", float(self.regression_threshold))
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "delta", float(self.delta))

    @property
    def threshold(self) -> Fraction:
        """The regression threshold as the decimal that was written: 0.15 is exactly 3/20."""
        return Fraction(repr(self.regression_threshold))

    def with_overrides(self, overrides: Mapping[str, Any]) -> Self:
        """The same rules with some values replaced.

        Raises:
            InvalidSetting: an unknown key, or a value outside its range.
        """
        known = [f.name for f in fields(self)]
        for key in overrides:
            if key not in known:
                raise InvalidSetting(key, f"unknown setting; the known ones are {', '.join(known)}")
        return replace(self, **{k: v for k, v in overrides.items() if v is not None})


def _check_share(key: str, value: object, low: float, high: float, words: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high:
        raise InvalidSetting(key, f"{value!r} is not a number {words}")
