"""The settings a judgement is made by, and their allowed ranges: the only place that states them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from rollguard.errors import InvalidSetting

_Class = TypeVar("_Class", bound=type[Any])
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def _whole(unit: str, low: int, high: int) -> GetPydanticSchema:
    words = f"is not a whole number of {unit} from {low} to {high}"
    return _said(words, core_schema.int_schema(ge=low, le=high, strict=True))


def _number(**bounds: float) -> GetPydanticSchema:
    words = " and ".join(f"{_BOUNDS[bound]} {value:g}" for bound, value in bounds.items())
    return _said(f"is not a number {words}", core_schema.float_schema(**bounds, strict=True))  # type: ignore[arg-type]


def _said(words: str, schema: CoreSchema | None = None) -> GetPydanticSchema:
    """Refuse what the schema, or else the type beside it, refuses with these words."""
    return GetPydanticSchema(
        lambda source, handler: core_schema.custom_error_schema(
            schema or handler(source), "setting", custom_error_message=words
        )
    )


_UNITS = {  # of the rules that are durations
    "monitoring_window_hours": timedelta(hours=1),
    "baseline_window_days": timedelta(days=1),
    "extend_until_sufficient": timedelta(hours=1),
    "collapse_retries": timedelta(seconds=1),
    "confirm_minutes": timedelta(minutes=1),
}
_ErrorTypes = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
    Field(strict=False),  # a list too
    AfterValidator(lambda names: tuple(dict.fromkeys(names))),
    _said('is not a list of error types, as ["ValidationError"]'),
]


def checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """Return the shares of a rollout's stages; none replace the version at once.

    Raises:
        ValueError: they do not rise, or one is not above 0 and below 1.
    """
    edges = (0.0, *map(float, shares), 1.0)
    if not all(one < after for one, after in pairwise(edges)):  # which NaN is not, either
        raise ValueError
    return edges[1:-1]


_Shares = Annotated[
    tuple[Annotated[float, Field(strict=True)], ...],
    Field(strict=False),  # a list too
    AfterValidator(checked_shares),
    _said("is not a list of rising shares above 0 and below 1, as [0.1, 0.25, 0.5]"),
]


def _refusing(cls: _Class) -> _Class:
    """Raise `InvalidSetting` in place of pydantic's error."""
    check = cls.__init__

    @wraps(check)
    def checked(self: object, *values: Any, **named: Any) -> None:
        try:
            check(self, *values, **named)
        except ValidationError as error:
            raise InvalidSetting.of(error.errors()[0], cls.__dataclass_fields__) from error

    cls.__init__ = checked
    return cls


@_refusing
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
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
        rollback_on_score: True rolls back on evidence that the scores of answers fell by the threshold, too; alpha is
            then divided among all that may roll back.
        hold_on_external: True does not roll back while something else explains the failures, False only tells of it;
            None holds with `evidence` and tells with `threshold`.
        confirm: `concurrent` has the old version serve half of the calls when the evidence rule would roll back, and
            the comparison of both decides. `off` rolls back at once. It needs `decision = "evidence"`.
        confirm_calls, confirm_minutes: how many calls of both versions, and how much time, that may take at most.
        confirm_at_bound: what follows without an answer by then: `hold` the rollback, or `roll_back`.
        caller_errors: types of errors that are the caller's fault; executions that failed by one are not counted.
        collapse_retries: seconds (0 to 3600) within which a failed call that is made again with the same parameters
            does not count; 0 guesses nothing. Calls that name a request count once anyway.
        baseline: `before` takes everything before the deployment, `same_hours` only the hours of the week that the
            watch falls into; then `baseline_window_days` must be 7 or more.
        baseline_counts: `good_versions` leaves out of the baseline what is none (`rollguard.judge.baseline`): versions
            that were rolled back or found regressed, and outages; `contract` counts by time alone.
        extend_until_sufficient: hours (0 to 8760) for which the watch goes on when its time ends without enough data.
        mode: "act" rolls a regression back; "observe" records and alerts what would be done, and does nothing.
        rollout: the shares of calls, rising, with which a new version begins beside the old one; empty replaces it at
            once. It applies to deployments of one tool that has a live version.
        rollout_stage_minutes: how long a share lasts at least, and how long nothing may speak against a version whose
            share is held.
        rollout_stage_units: how many calls, or requests, of both versions a share needs at least.
        rollout_limit_hours: after how many hours the old version serves alone again unless the new one was promoted; at
            most `monitoring_window_hours`.
        rollout_unit_seconds: after how many seconds a call beside another version has failed unless it ended, and the
            outcome of a request is final.
        rollout_amend_seconds: for how long after its beginning the outcome of such a call may be amended. So long it is
            not counted, because nothing that was counted may change.
        max_rollbacks_per_day: automatic rollbacks of one tool in 24 hours (0 to 1000; 0 is no limit). Past it the
            decision is recorded and people are notified, and nothing is done.

    Raises:
        InvalidSetting: a value is of the wrong type or outside its range; the message names both.
    """

    monitoring_window_hours: Annotated[int, _whole("hours", 1, 8760)] = 24
    baseline_window_days: Annotated[int, _whole("days", 1, 365)] = 7
    regression_threshold: Annotated[float, _number(gt=0, le=1)] = 0.15
    min_executions: Annotated[int, _whole("executions", 1, 1_000_000)] = 10
    alpha: Annotated[float, _number(gt=0, lt=0.5)] = 0.05
    delta: Annotated[float, _number(ge=0, lt=1)] = 0.0
    decision: Literal["threshold", "evidence"] = "threshold"
    fast_triggers: Literal["with_evidence", "alone", "off"] = "with_evidence"
    rollback_on_slowdown: bool = False
    rollback_on_score: bool = False
    hold_on_external: bool | None = None
    confirm: Literal["off", "concurrent"] = "off"
    confirm_calls: Annotated[int, _whole("calls", 10, 1_000_000)] = 300
    confirm_minutes: Annotated[float, _number(ge=1, le=10_080)] = 120.0
    confirm_at_bound: Literal["hold", "roll_back"] = "hold"
    caller_errors: _ErrorTypes = ()
    collapse_retries: Annotated[float, _number(ge=0, le=3600)] = 0.0
    baseline: Literal["before", "same_hours"] = "before"
    baseline_counts: Literal["good_versions", "contract"] = "good_versions"
    extend_until_sufficient: Annotated[int, _whole("hours", 0, 8760)] = 0
    mode: Literal["act", "observe"] = "act"
    max_rollbacks_per_day: Annotated[int, _whole("rollbacks", 0, 1_000)] = 3
    rollout: _Shares = ()
    rollout_stage_minutes: Annotated[float, _number(gt=0, le=525_600)] = 60.0
    rollout_stage_units: Annotated[int, _whole("units", 1, 10_000_000)] = 50
    rollout_limit_hours: Annotated[float, _number(gt=0, le=8760)] = 12.0
    rollout_unit_seconds: Annotated[float, _number(ge=1, le=86_400)] = 60.0
    rollout_amend_seconds: Annotated[float, _number(ge=0, le=604_800)] = 0.0

    def __post_init__(self) -> None:
        if self.baseline == "same_hours" and self.baseline_window_days < 7:
            raise InvalidSetting("baseline", '"same_hours" needs a baseline_window_days of 7 or more')

    @property
    def threshold(self) -> Fraction:
        """The regression threshold as the decimal that was written: 0.15 is exactly 3/20."""
        return _as_written(self.regression_threshold)

    def alpha_of_each(self, *, rollout: bool = False) -> float:
        """Return the part of alpha that each test may spend: the same for all that may roll back in a session.

        A test that only warns bounds its own error by as much. If a deployment is confirmed, its comparison acts in the
        evidence rule's place, which takes no part of its own unless the rules roll back at the bound.

        Args:
            rollout: whether the session began with both versions serving, which is a test of its own.
        """
        two = rollout or (self.confirms and self.confirm_at_bound == "roll_back")
        return self.alpha / (1 + self.rollback_on_slowdown + self.rollback_on_score + two)

    @property
    def confirms(self) -> bool:
        """Whether a rollback by the evidence rule is confirmed by both versions beside each other."""
        return self.confirm == "concurrent" and self.decision == "evidence"

    @property
    def checks_every_arrival(self) -> bool:
        """Whether anything but the schedule's threshold rule may act."""
        return (
            self.decision == "evidence"
            or self.fast_triggers != "off"
            or self.rollback_on_slowdown
            or self.rollback_on_score
        )

    @property
    def holds_on_external(self) -> bool:
        """Whether a rollback waits while something else explains the failures."""
        return self.decision == "evidence" if self.hold_on_external is None else self.hold_on_external

    def of_release(self, changed: int) -> Self:
        """Return the rules for each of the changed tools of a release: of several, evidence alone acts, at alpha/T.

        So the probability that a release of unchanged tools is ever rolled back is at most alpha.
        """
        if changed < 2:
            return self
        fast = "with_evidence" if self.fast_triggers == "alone" else self.fast_triggers
        return replace(self, decision="evidence", alpha=self.alpha / changed, fast_triggers=fast)

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as a JSON-safe mapping; `Rules(**mapping)` are the same rules."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**kept, "caller_errors": list(self.caller_errors), "rollout": list(self.rollout)}

    def with_overrides(self, overrides: Mapping[str, Any]) -> Self:
        """Return the same rules with some values replaced; a known key's None replaces nothing.

        Raises:
            InvalidSetting: an unknown key, or a value outside its range.
        """
        known = self.__dataclass_fields__
        given = {key: v for key, v in overrides.items() if v is not None or key not in known}
        return replace(self, **understood(given))


def understood(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return rules with their values of other types whose meaning is certain: a `timedelta`, a number of numpy."""
    return {key: _understood(key, value) for key, value in rules.items()}


def _understood(key: str, value: Any) -> Any:
    if isinstance(value, timedelta) and key in _UNITS:
        parts = value / _UNITS[key]
        return int(parts) if parts.is_integer() else parts
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool) else value


@lru_cache(maxsize=256)
def _as_written(value: float) -> Fraction:
    return Fraction(repr(value))
