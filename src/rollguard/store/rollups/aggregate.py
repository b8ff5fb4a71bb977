"""Aggregate executions for the rollups while they are written. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, NamedTuple, Self, TypeVar

from rollguard.judge import score_bucket
from rollguard.judge.histogram import SCORES, histogram_of

Minute = TypeVar("Minute", bound=Hashable)


class Counted(NamedTuple, Generic[Minute]):
    """The executions of one tool, version, minute and error."""

    tool_name: str
    version_number: int
    """0 if they name none."""
    minute: Minute
    error_type: str
    """'' for a success, and for a failure without one."""
    executions: int
    successes: int
    timed: int
    """Executions with a duration."""
    duration_sum_ms: float
    histogram: Counter[int]
    """The executions of each bucket of durations, and from `SCORES` on of each bucket of scores."""
    amended: int = 0
    """How often they were amended."""

    def taken_off(self) -> Self:
        """Return what takes these counts off again, for executions that are amended."""
        return self._replace(
            executions=-self.executions,
            successes=-self.successes,
            timed=-self.timed,
            duration_sum_ms=-self.duration_sum_ms,
            histogram=Counter({bucket: -executions for bucket, executions in self.histogram.items()}),
            amended=1,
        )


class Aggregate(Generic[Minute]):
    """Aggregates executions by tool, version, minute and error. A minute is any hashable value."""

    def __init__(self) -> None:
        self.requests: set[tuple[str, str]] = set()
        """(tool name, request id) of the executions with a request id."""
        self._durations: defaultdict[tuple[str, int, Minute, str | None], list[float | None]] = defaultdict(list)
        self._scores: defaultdict[tuple[str, int, Minute, str | None], list[float]] = defaultdict(list)

    def add(
        self,
        executions: Iterable[tuple[Minute, str, int | None, bool, float | None, str | None, str | None, float | None]],
    ) -> None:
        """Add executions, each with its minute, tool, version, success, duration, type of error, request and score."""
        # Only a list grows for each execution; the rest runs once for each minute.
        for minute, tool_name, version_number, success, duration_ms, error_type, request_id, score in executions:
            error = None if success else error_type or ""
            self._durations[tool_name, version_number or 0, minute, error].append(duration_ms)
            if request_id is not None:
                self.requests.add((tool_name, request_id))
            if score is not None:
                self._scores[tool_name, version_number or 0, minute, error].append(score)

    def __len__(self) -> int:
        return sum(map(len, self._durations.values()))

    def counted(self) -> Iterator[Counted[Minute]]:
        """Return the counts, those of a minute's successes and of each of its errors separately."""
        for key, durations in self._durations.items():
            tool_name, version_number, minute, error = key
            histogram = Counter(SCORES + score_bucket(score) for score in self._scores.get(key, ()))
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
                histogram_of(timed) + histogram,
            )
