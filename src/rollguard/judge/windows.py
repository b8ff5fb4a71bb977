"""Count executions, successes and durations of an interval of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

from rollguard.errors import InvalidInput
from rollguard.judge.histogram import percentiles


@dataclass(frozen=True, slots=True)
class Window:
    """The counts of a tool's executions in an interval of time. Windows of disjoint intervals add up with `+`.

    Attributes:
        total: executions.
        successes: executions that succeeded.
        timed: executions with a duration; an execution may be recorded without one.
        duration_sum_ms: sum of the durations, in milliseconds.
        histogram: (bucket, executions) of the durations, see `rollguard.judge.histogram`; empty if not counted.
        given_up: (bucket, calls) of the calls that their callers gave up on, which are no executions here.
        timed_out: calls that outlived the tool's `timeout_seconds`, which are no executions here either.
        scores: (bucket, executions) of the scores of answers, see `rollguard.judge.score`.

    Raises:
        InvalidInput: there are more successes or durations than executions, or a count is negative.
    """

    total: int = 0
    successes: int = 0
    timed: int = 0
    duration_sum_ms: float = 0.0
    histogram: tuple[tuple[int, int], ...] = ()
    given_up: tuple[tuple[int, int], ...] = ()
    timed_out: int = 0
    scores: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.total or not 0 <= self.timed <= self.total:
            raise InvalidInput(
                f"a window needs 0 <= successes, timed <= total, not total={self.total}, "
                f"successes={self.successes}, timed={self.timed}"
            )

    def __add__(self, other: Window) -> Window:
        return Window(
            self.total + other.total,
            self.successes + other.successes,
            self.timed + other.timed,
            self.duration_sum_ms + other.duration_sum_ms,
            _sum(self.histogram, other.histogram),
            _sum(self.given_up, other.given_up),
            self.timed_out + other.timed_out,
            _sum(self.scores, other.scores),
        )

    def without(self, part: Window) -> Window:
        """Return the window without a part of it. No count falls below 0 if the part holds more than the window."""
        total = max(0, self.total - part.total)
        timed = min(total, max(0, self.timed - part.timed))
        return Window(
            total,
            min(total, max(0, self.successes - part.successes)),
            timed,
            max(0.0, self.duration_sum_ms - part.duration_sum_ms) if timed else 0.0,
            _difference(self.histogram, part.histogram),
            _difference(self.given_up, part.given_up),
            max(0, self.timed_out - part.timed_out),
            _difference(self.scores, part.scores),
        )

    def with_failures(self, failures: int) -> Window:
        """Return the window with so many more failures, without durations; what hung is counted by then."""
        return replace(self, total=self.total + failures, given_up=(), timed_out=0)

    def percentiles_ms(self, shares: Sequence[float]) -> tuple[float | None, ...]:
        """Return the percentiles of the durations in milliseconds, to within 2.5 %; None for each without durations.

        Args:
            shares: rising shares from 0 to 1.
        """
        return percentiles(self.histogram, tuple(shares))

    def to_dict(self, *, histogram: bool = True) -> dict[str, Any]:
        """Return the window as a JSON-safe mapping for the decision record.

        Args:
            histogram: False leaves the histogram out, if nothing was decided from it.
        """
        kept: dict[str, Any] = {
            "total": self.total,
            "successes": self.successes,
            "timed": self.timed,
            "duration_sum_ms": self.duration_sum_ms,
            "histogram": list(self.histogram) if histogram else [],
        }
        if self.given_up or self.timed_out:
            kept |= {"given_up": list(self.given_up), "timed_out": self.timed_out}
        return kept | ({"scores": list(self.scores)} if self.scores else {})

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the window that `to_dict` wrote."""
        names = ("histogram", *({"given_up", "scores"} & set(kept)))
        buckets = {name: tuple(map(tuple, kept[name])) for name in names}
        return cls(**{**kept, **buckets})

    @property
    def failures(self) -> int:
        """Return the number of executions that failed."""
        return self.total - self.successes

    @property
    def rate(self) -> Fraction | None:
        """Return the success rate as an exact fraction in [0, 1]; None without executions."""
        return Fraction(self.successes, self.total) if self.total else None

    @property
    def success_rate(self) -> float | None:
        """Return the success rate as the nearest float; None without executions."""
        return self.successes / self.total if self.total else None

    @property
    def avg_duration_ms(self) -> float | None:
        """Return the mean duration in milliseconds; None without durations."""
        return self.duration_sum_ms / self.timed if self.timed else None


_Buckets = tuple[tuple[int, int], ...]


def _sum(one: _Buckets, other: _Buckets) -> _Buckets:
    if not one or not other:
        return one or other
    return tuple(sorted((Counter(dict(one)) + Counter(dict(other))).items()))


def _difference(one: _Buckets, part: _Buckets) -> _Buckets:
    return tuple(sorted((Counter(dict(one)) - Counter(dict(part))).items()))
