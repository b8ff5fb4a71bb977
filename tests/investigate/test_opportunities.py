"""Weak tools are found, ranked by what they cost, and left alone where there is a reason."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore
from rollguard.investigate import LeftAlone, Opportunity, find_opportunities
from rollguard.investigate.opportunities import ranked
from rollguard.model.attempt import FAIL, Why
from rollguard.model.uses import Uses
from rollguard.store import Caps, Finding, Step
from tests.conftest import NOW, Guard

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FINDING = Finding("my_tool", "low_success_rate", "high", "50 of 50 failed", 1, "a" * 64, {})
CAPS = Caps(of_tool=9, of_all=9, tokens=9)


def calls(
    store: ExecutionStore, tool: str, good: int, bad: int, at: datetime, *, ms: float = 10.0, **more: Any
) -> None:
    """So many calls of a tool within an hour."""
    number, more = good + bad, {"error_type": "ValueError", **more}
    store.store_tool_executions(
        {
            "tool_name": tool,
            "success": place >= bad,
            "duration_ms": ms,
            "executed_at": at + HOUR * place / (2 * number),
            **(more if place < bad else {k: v for k, v in more.items() if k != "error_type"}),
        }
        for place in range(number)
    )


def found(store: ExecutionStore, **given_to: Any) -> dict[tuple[str, str], Opportunity]:
    return {(one.tool_name, one.kind): one for one in find_opportunities(store, **{"now": NOW, **given_to})}


def test_each_kind_is_found(store: ExecutionStore) -> None:
    """Low success rates, recent failures, new errors and slow tools are found, each by its own name."""
    calls(store, "low", 100, 60, NOW - 3 * DAY)
    calls(store, "very_low", 10, 60, NOW - 3 * HOUR, ms=2_000)
    calls(store, "recent", 500, 3, NOW - 3 * HOUR)
    calls(store, "fine", 500, 2, NOW - 3 * HOUR)
    calls(store, "new", 3_000, 0, NOW - 2 * DAY)
    calls(store, "new", 50, 2, NOW - 3 * HOUR, error_type="KeyError")
    calls(store, "slow", 20, 0, NOW - 3 * HOUR, ms=6_000)
    calls(store, "slower", 20, 0, NOW - 3 * DAY, ms=100)
    calls(store, "slower", 20, 0, NOW - 3 * HOUR, ms=400)
    opportunities = found(store)
    assert {key: one.priority.value for key, one in opportunities.items()} == {
        ("low", "low_success_rate"): "medium",
        ("very_low", "low_success_rate"): "high",
        ("recent", "recent_failures"): "low",
        ("new", "new_error"): "medium",
        ("slow", "slow"): "medium",
        ("slower", "slow"): "medium",
    }
    assert opportunities["very_low", "low_success_rate"].calls_lost_per_day == 60
    assert opportunities["very_low", "low_success_rate"].seconds_lost_per_day == pytest.approx(120)
    assert opportunities["low", "low_success_rate"].calls_lost_per_day == pytest.approx(20)
    assert opportunities["slow", "slow"].left_alone == LeftAlone.UNPROVABLE
    assert opportunities["slow", "slow"].seconds_lost_per_day == pytest.approx(20)
    assert opportunities["slower", "slow"].seconds_lost_per_day == pytest.approx(20 * 0.3)
    assert [key[0] for key in opportunities][:2] == ["very_low", "low"]
    assert opportunities["recent", "recent_failures"].reason == "3 of 503 calls failed in the last 24 hours"


@pytest.mark.parametrize(("good", "bad"), [(1, 2), (0, 2), (500, 2)])
def test_a_few_failures_are_none(store: ExecutionStore, good: int, bad: int) -> None:
    """Two failures of three calls prove nothing."""
    calls(store, "t", good, bad, NOW - 3 * HOUR)
    assert found(store) == {}


def test_only_the_live_version_counts(guard: Guard) -> None:
    """What an earlier version failed is no opportunity any more."""
    guard.deploy(1, at=NOW - 5 * DAY)
    calls(guard.store, "my_tool", 0, 50, NOW - 4 * DAY, version_number=1)
    assert list(found(guard.store)) == [("my_tool", "low_success_rate")]
    guard.deploy(2, at=NOW - DAY)
    calls(guard.store, "my_tool", 50, 0, NOW - 3 * HOUR, version_number=2)
    assert found(guard.store) == {}


def test_what_is_no_failure(store: ExecutionStore) -> None:
    """A call that a framework withdrew is no failure, and a request that succeeded at the second try is none either."""
    calls(store, "withdrawn", 0, 40, NOW - 3 * HOUR, error_type="CallWithdrawn")
    for number in range(40):
        for second, success in enumerate((False, True)):
            store.store_tool_execution(
                tool_name="retried",
                success=success,
                executed_at=NOW - 3 * HOUR + timedelta(seconds=10 * number + second),
                request_id=f"r{number}",
            )
    assert found(store) == {}


def test_why_a_tool_is_left_alone(guard: Guard) -> None:
    """A monitored tool is left to its session; a reason that others give comes first in its order."""
    guard.deploy(1, at=NOW - 2 * DAY)
    calls(guard.store, "my_tool", 0, 50, NOW - 3 * HOUR)
    assert found(guard.store)["my_tool", "low_success_rate"].left_alone is None
    guard.watch(at=NOW - HOUR)
    assert found(guard.store)["my_tool", "low_success_rate"].left_alone == LeftAlone.UNDER_MONITORING
    report = {"tool_name": "my_tool", "version_number": None, "calls": 50, "failures": 50}
    report["causes"] = [{"kind": "outside", "predicate": "other tools failed at the same time"}]
    guard.store.investigations.keep(report, NOW - HOUR)
    assert found(guard.store)["my_tool", "low_success_rate"].left_alone == LeftAlone.OUTSIDE_CAUSE
    failed = guard.store.attempts.begin(FINDING, CAPS, by="find", now=NOW)
    assert failed is not None
    step = Step(FAIL, "improve", why=Why.NO_PROPOSAL, values={"not_before": NOW + HOUR})
    guard.store.attempts.move(failed, step, NOW)
    assert found(guard.store)["my_tool", "low_success_rate"].left_alone == LeftAlone.COOL_DOWN
    for tool in (None, "my_tool"):
        guard.store.freezes.set(tool, frozen=True, by="ann", reason=None, now=NOW)
        assert found(guard.store)["my_tool", "low_success_rate"].left_alone == LeftAlone.FROZEN
        guard.store.freezes.set(tool, frozen=False, by="ann", reason=None, now=NOW)
    report["causes"] = [{"kind": "none", "predicate": "no single cause found"}]
    guard.store.investigations.keep(report, NOW)
    later = found(guard.store, now=NOW + HOUR)
    assert later["my_tool", "low_success_rate"].left_alone == LeftAlone.UNDER_MONITORING


def test_an_opportunity_is_json(store: ExecutionStore) -> None:
    """It is described by the six fields that the command prints."""
    calls(store, "t", 0, 40, NOW - 3 * HOUR)
    (one,) = found(store).values()
    assert one.to_dict() == {
        "tool_name": "t",
        "kind": "low_success_rate",
        "priority": "high",
        "calls_lost_per_day": 40,
        "seconds_lost_per_day": 0.4,
        "left_alone": None,
    }


@given(
    st.lists(
        st.builds(
            lambda recent, current, error, calls, share, ms: Uses(
                "t",
                recent,
                current,
                error,
                calls,
                int(calls * share),
                calls,
                ms * calls,
                NOW - (HOUR if recent else 3 * DAY),
            ),
            *(st.booleans(), st.booleans(), st.sampled_from(["", "KeyError", "ValueError"])),
            *(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 20_000)),
        ),
        max_size=6,
    )
)
def test_the_costs_are_sums_of_what_was_counted(uses: Iterable[Uses]) -> None:
    """No opportunity costs more calls than failed, none is negative, and the dearest comes first."""
    some = list(uses)
    opportunities = ranked({"t": some}, NOW, {})
    failures = sum(one.failures for one in some if one.current)
    assert all(0 <= one.calls_lost_per_day <= failures and one.seconds_lost_per_day >= 0 for one in opportunities)
    costs = [(-one.calls_lost_per_day, -one.seconds_lost_per_day) for one in opportunities]
    assert costs == sorted(costs)
    kinds = [one.kind for one in opportunities]
    assert not {"low_success_rate", "recent_failures"} <= set(kinds)


def test_the_present_hour_counts(store: ExecutionStore) -> None:
    """Calls of the hour that runs are counted as soon as they are stored."""
    now = NOW.replace(minute=40)
    calls(store, "now", 0, 30, now.replace(minute=1))
    assert [(one.tool_name, one.kind) for one in find_opportunities(store, now=now)] == [("now", "low_success_rate")]
