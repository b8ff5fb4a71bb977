"""The settings a judgement is made by, and their allowed ranges: the only place that states them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Self

from rollguard.errors import InvalidSetting

_INT_RANGES = {
    "monitoring_window_hours": (1, 8760, "hours"),
    "baseline_window_days": (1, 365, "days"),
    "min_executions": (1, 1_000_000, "executions"),
    "extend_until_sufficient": (0, 8760, "hours"),
    "max_rollbacks_per_day": (0, 1_000, "rollbacks"),
}

_WORDS = {
    "decision": ("threshold", "evidence"),
    "fast_triggers": ("with_evidence", "alone", "off"),
    "baseline": ("before", "same_hours"),
    "mode": ("act", "observe"),
}


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
        decision: `threshold` rolls back when a scheduled check finds the drop; `evidence` when the evidence rule says
            so, at whatever moment.
        fast_triggers: whether a trigger (`rollguard.judge.triggers`) rolls back `with_evidence`, `alone` or not
            (`off`).
        rollback_on_slowdown: True rolls back on evidence of a slowdown too; alpha is then halved between the two.
        hold_on_external: True does not roll back while something else explains the failures, False only tells of it;
            None holds with `evidence` and tells with `threshold`.
        caller_errors: types of errors that are the caller's fault; executions that failed by one are not counted.
        collapse_retries: seconds (0 to 3600) within which a failed call that is made again with the same parameters
            does not count; 0 guesses nothing. Calls that name a request count once anyway.
        baseline: `before` takes everything before the deployment, `same_hours` only the hours of the week that the
            watch falls into; then `baseline_window_days` must be 7 or more.
        extend_until_sufficient: hours (0 to 8760) for which the watch goes on when its time ends without enough data.
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
    decision: str = "threshold"
    fast_triggers: str = "with_evidence"
    rollback_on_slowdown: bool = False
    hold_on_external: bool | None = None
    caller_errors: tuple[str, ...] = ()
    collapse_retries: float = 0.0
    baseline: str = "before"
    extend_until_sufficient: int = 0
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
        for key, words in _WORDS.items():
            if getattr(self, key) not in words:
                allowed = ", ".join(f'"{word}"' for word in words)
                raise InvalidSetting(key, f"{getattr(self, key)!r} is not one of {allowed}")
        for key in ("rollback_on_slowdown", "hold_on_external"):
            if not isinstance(getattr(self, key), bool) and (key, getattr(self, key)) != ("hold_on_external", None):
                raise InvalidSetting(key, f"{getattr(self, key)!r} is not true or false")
        if self.collapse_retries != 0:
            _check_share("collapse_retries", self.collapse_retries, 0.0, 3600.0, "of seconds from 0 to 3600")
        if self.baseline == "same_hours" and self.baseline_window_days < 7:
            raise InvalidSetting("baseline", '"same_hours" needs a baseline_window_days of 7 or more')
        object.__setattr__(self, "caller_errors", _error_types(self.caller_errors))
        object.__setattr__(self, "collapse_retries", float(self.collapse_retries))
        # Stored as floats so that a record of the rules reads back as it was written.
        object.__setattr__(self, "regression_threshold", float(self.regression_threshold))
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "delta", float(self.delta))

    @property
    def threshold(self) -> Fraction:
        """The regression threshold as the decimal that was written: 0.15 is exactly 3/20."""
        return _as_written(self.regression_threshold)

    @property
    def success_alpha(self) -> float:
        """The part of alpha that the test of success rates may spend."""
        return self.alpha / 2 if self.rollback_on_slowdown else self.alpha

    @property
    def slowdown_alpha(self) -> float:
        """What the test of durations may spend: the other half, or all of it where it only warns."""
        return self.alpha / 2 if self.rollback_on_slowdown else self.alpha

    @property
    def looks_at_every_arrival(self) -> bool:
        """Whether anything but the schedule's threshold rule may act."""
        return self.decision == "evidence" or self.fast_triggers != "off" or self.rollback_on_slowdown

    @property
    def holds_on_external(self) -> bool:
        """Whether a rollback waits while something else explains the failures."""
        return self.decision == "evidence" if self.hold_on_external is None else self.hold_on_external

    def to_dict(self) -> dict[str, Any]:
        """The rules as a JSON-safe mapping, to be kept with what was decided by them."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept["caller_errors"] = list(self.caller_errors)
        return kept

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


@lru_cache(maxsize=256)
def _as_written(value: float) -> Fraction:
    return Fraction(repr(value))


def _check_share(key: str, value: object, low: float, high: float, words: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high:
        raise InvalidSetting(key, f"{value!r} is not a number {words}")


def _error_types(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise InvalidSetting("caller_errors", f'{value!r} is not a list of error types, as ["ValidationError"]')
    for name in value:
        if not isinstance(name, str) or not name or len(name) > 200:
            raise InvalidSetting("caller_errors", f"{name!r} is not the name of an error type")
    return tuple(dict.fromkeys(value))
