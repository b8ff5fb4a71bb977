"""What a shadow test and a replay test found: rows of their tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What both kinds of tests have in common.

    Attributes:
        tool_name: the tool.
        candidate_sha256: the hash of the candidate's source.
        passed: whether it passed.
        differences: the inputs with another outcome, each with both outcomes.
        errors: why it did not pass, in words.
        started_at, completed_at: when it ran.
        test_id: its number, once it is stored.
    """

    __test__ = False  # no test of pytest's

    tool_name: str
    candidate_sha256: str
    passed: bool
    differences: tuple[dict[str, Any], ...] = ()
    errors: tuple[str, ...] = ()
    started_at: datetime
    completed_at: datetime
    test_id: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        times = {"started_at": self.started_at.isoformat(), "completed_at": self.completed_at.isoformat()}
        return self.to_row() | times | {"differences": list(self.differences), "errors": list(self.errors)}

    def to_row(self) -> dict[str, Any]:
        """Return the values of the columns."""
        row = asdict(self)
        return row if self.test_id is not None else {name: row[name] for name in row if name != "test_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTestResult(TestResult):
    """A shadow test: with how many inputs the candidate does what the live version does.

    Attributes:
        test_count, agreements, disagreements: inputs; those with the same outcome, and the others.
    """

    test_count: int
    agreements: int
    disagreements: int

    @property
    def agreement_rate(self) -> float | None:
        """Return the share of inputs with the same outcome; None without inputs."""
        return self.agreements / self.test_count if self.test_count else None

    def to_row(self) -> dict[str, Any]:
        """Return the values of the columns."""
        return {**TestResult.to_row(self), "agreement_rate": self.agreement_rate}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTestResult(TestResult):
    """A replay test: with how many recorded calls the candidate succeeds.

    Attributes:
        replay_count, successes, failures: calls; those with which it succeeds, and the others.
        improvements_count: calls that failed when they were recorded, and succeed.
        regressions_count: calls that succeeded when they were recorded, and fail.
    """

    replay_count: int
    successes: int
    failures: int
    improvements_count: int
    regressions_count: int

    @property
    def success_rate(self) -> float | None:
        """Return the share of calls that succeed; None without calls."""
        return self.successes / self.replay_count if self.replay_count else None

    def to_row(self) -> dict[str, Any]:
        """Return the values of the columns."""
        return {**TestResult.to_row(self), "success_rate": self.success_rate}
