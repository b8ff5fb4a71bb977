"""Stores filled through the public API, for the contract's views and queries to be asked of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollguard.model.rehearsed import ReplayTestResult, ShadowTestResult
from rollguard.store import Caps, Finding
from tests.conftest import Guard

START = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def present() -> datetime:
    """The present moment: blocks that ask for NOW() can be tested against no other."""
    return datetime.now(UTC).replace(microsecond=0)


def deploy(guard: Guard, tool: str, *, at: datetime, baseline: tuple[int, int], version: int = 2) -> int:
    """A tool with a baseline on the day before, deployed and watched from `at` on. Returns the session."""
    if guard.store.versions.live(tool) is None:
        guard.deploy(1, tool=tool, at=at - 30 * DAY)
    guard.deploy(version, tool=tool, at=at)
    guard.calls(*baseline, start=at - DAY, hours=20, tool=tool)
    return guard.watch(tool=tool, at=at)


def regress(guard: Guard, tool: str, *, at: datetime, successes: int, hours: float, version: int = 2) -> int:
    """A deployment whose baseline of 90 % falls to so many of 20, rolled back after so many hours."""
    session_id = deploy(guard, tool, at=at, baseline=(90, 10), version=version)
    guard.calls(successes, 20 - successes, start=at, hours=1, tool=tool)
    result = guard.monitor.auto_rollback_if_needed(tool, session_id, now=at + hours * HOUR)
    assert result["rollback_performed"]
    return session_id


def hold(guard: Guard, tool: str, *, at: datetime, successes: int, of: int, version: int) -> int:
    """A deployment that fares as its baseline did, checked three times and completed after 24 hours."""
    session_id = deploy(guard, tool, at=at, baseline=(successes, of - successes), version=version)
    guard.calls(successes, of - successes, start=at, hours=1, tool=tool)
    for hours in (2, 12, 24):
        guard.monitor.auto_rollback_if_needed(tool, session_id, now=at + hours * HOUR)
    assert guard.session(session_id).status == "completed"
    return session_id


def five_and_ten_deployments(guard: Guard) -> None:
    """The contract's example: 3 of 5 deployments of one tool are rolled back, none of 10 of another.

    The rolled back ones last 6.5, 8.5 and 10.5 hours, and the last rates since the five deployments average 0.65.
    """
    for number, (successes, hours) in enumerate(((10, 6.5), (10, 8.5), (9, 10.5))):
        at = START + 10 * number * DAY
        regress(guard, "problematic_tool", at=at, successes=successes, hours=hours, version=number + 2)
    for number in (3, 4):
        at = START + 10 * number * DAY
        hold(guard, "problematic_tool", at=at, successes=18, of=20, version=number + 2)
    for number in range(10):
        hold(guard, "stable_tool", at=START + 10 * number * DAY, successes=23, of=25, version=number + 2)


def two_tools_under_watch(guard: Guard, now: datetime) -> tuple[int, int]:
    """The contract's example: after 6.5 hours a drop of 2 points, after 12.3 hours a regression of 18."""
    fine = deploy(guard, "my_tool", at=now - 6.5 * HOUR, baseline=(90, 10))
    guard.calls(22, 3, start=now - 6.5 * HOUR, hours=6, tool="my_tool")
    bad = deploy(guard, "other_tool", at=now - 12.3 * HOUR, baseline=(90, 10))
    guard.calls(18, 7, start=now - 12.3 * HOUR, hours=6, tool="other_tool")
    for tool, session_id in (("my_tool", fine), ("other_tool", bad)):
        for hours in (0.5, 0):
            guard.monitor.check_health(tool, session_id, now=now - hours * HOUR)
    return fine, bad


def tools_that_need_attention(guard: Guard, now: datetime) -> None:
    """Beside the two tools above: three past their window, one of them hardly checked, one never, one 5 times."""
    two_tools_under_watch(guard, now)
    for tool, checks in (("never_checked", 0), ("hardly_checked", 4), ("well_checked", 5)):
        at = now - 30 * HOUR
        session_id = deploy(guard, tool, at=at, baseline=(20, 0))
        guard.calls(19, 1, start=at, hours=1, tool=tool)
        for number in range(checks):
            guard.monitor.check_health(tool, session_id, now=at + (number + 1) * HOUR)
    fresh = deploy(guard, "fresh_tool", at=now - 23 * HOUR, baseline=(20, 0))
    assert guard.session(fresh).active


def rollbacks_of_two_weeks(guard: Guard, now: datetime) -> None:
    """Rollbacks 2 hours, 3 days and just under 7 days ago, and others just over 7 and 14 days ago."""
    ago = {"two_hours": 2, "three_days": 72, "nearly_seven": 7 * 24 - 2, "over_seven": 7 * 24 + 2, "fourteen": 14 * 24}
    for tool, hours in ago.items():
        successes = {"two_hours": 14, "three_days": 13}.get(tool, 10)  # 20, 25 and 40 points
        regress(guard, tool, at=now - hours * HOUR - 6 * HOUR, successes=successes, hours=6)


def two_tests(guard: Guard, now: datetime) -> None:
    """A shadow test that passed, a replay test that did not, and an attempt to improve the tool."""
    both = {"tool_name": "my_tool", "candidate_sha256": "0" * 64, "started_at": now - HOUR, "completed_at": now}
    guard.store.rehearsals.add_shadow(
        ShadowTestResult(**both, passed=True, test_count=20, agreements=19, disagreements=1)
    )
    guard.store.rehearsals.add_replay(
        ReplayTestResult(
            **both,
            passed=False,
            replay_count=20,
            successes=18,
            failures=2,
            improvements_count=0,
            regressions_count=2,
        )
    )
    found = Finding("my_tool", "new_error", "high", "KeyError is new", 1, "0" * 64, {})
    assert guard.store.attempts.begin(found, Caps(9, 9, 9), by="find", now=now) is not None
