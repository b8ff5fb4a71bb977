"""What executions add to the rollups, counted while they are being written. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

from rollguard.judge.histogram import bucket_of

Minute = TypeVar("Minute", bound=Hashable)


class Counted(NamedTuple, Generic[Minute]):
    """The executions of one tool, version, minute and error."""

    tool_name: str
    version_number: int
    """0 where none was named."""
    minute: Minute
    error_type: str
    """'' for a success, and for a failure that names none."""
    executions: int
    successes: int
    timed: int
    """Those with a duration."""
    duration_sum_ms: float
    histogram: Counter[int]
    """Bucket of the duration → executions."""


class Tally(Generic[Minute]):
    """Counts executions. A minute is whatever its writer names it by."""

    def __init__(self) -> None:
        self.requests: set[tuple[str, str]] = set()
        """(tool, request) of the executions that name a request."""
        self._durations: defaultdict[tuple[str, int, Minute, str | None], list[float | None]] = defaultdict(list)

    def add(
        self,
        minute: Minute,
        tool_name: str,
        version_number: int | None,
        success: bool,
        duration_ms: float | None,
        error_type: str | None,
        request_id: str | None,
    ) -> None:
        """Count one execution."""
        # Only a list grows here, since this is done for every execution; the rest is done for each minute.
        error = None if success else error_type or ""
        self._durations[tool_name, version_number or 0, minute, error].append(duration_ms)
        if request_id is not None:
            self.requests.add((tool_name, request_id))

    def __len__(self) -> int:
        return sum(map(len, self._durations.values()))

    def counted(self) -> Iterator[Counted[Minute]]:
        """What was counted; the successes of a minute and each of its errors apart."""
        for (tool_name, version_number, minute, error), durations in self._durations.items():
            timed = [duration for duration in durations if duration is not None]
            yield Counted(
                tool_name,
                version_number,
                minute,
                error or "",
                len(durations),
                0 if error is not None else len(durations),
                len(timed),
                sum(timed, 0.0),
                Counter(map(bucket_of, timed)),
            )
