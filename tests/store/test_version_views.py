"""The views of versions count what a plain count of the rows finds, however and whenever the rows came."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore
from tests.conftest import NOW, Guard, code, examples

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
SECOND = timedelta(seconds=1)
START = NOW - 40 * DAY


def history(store: ExecutionStore, tool: str = "my_tool") -> dict[int, dict[str, Any]]:
    """The rows of `version_history_with_metrics` by version."""
    return {row["version_number"]: row for row in store.reports.version_history(tool)}


def counts(store: ExecutionStore, tool: str = "my_tool") -> dict[int, tuple[int, int, float | None]]:
    """Of each version: executions, successes, mean duration."""
    return {
        number: (row["executions"], row["successes"], row["avg_duration_ms"])
        for number, row in history(store, tool).items()
    }


def stability(store: ExecutionStore, tool: str = "my_tool") -> dict[str, Any]:
    return next(row for row in store.reports.version_stability() if row["tool_name"] == tool)


def lives(store: ExecutionStore, *moments: tuple[int, datetime], tool: str = "my_tool") -> None:
    """Versions go live at these moments, without a file."""
    for number, at in moments:
        now = store.versions.live(tool)
        store.versions.add(tool, code(number).encode(), kind=None, created_by="me", reason=None, now=at)
        store.versions.go_live(
            tool,
            number,
            swap=lambda _version: None,
            deployed_by="me",
            reason=None,
            deployed_at=at,
            expected_live=now.deployment_id if now else None,
        )


def record(store: ExecutionStore, *times: datetime, version: int | None = None, tool: str = "my_tool") -> None:
    store.store_tool_executions(
        {
            "tool_name": tool,
            "success": i % 3 != 1,
            "duration_ms": None if i % 4 == 3 else 10.0 * (i + 1),
            "executed_at": at,
            "version_number": version,
        }
        for i, at in enumerate(times)
    )


# --- metrics ---------------------------------------------------------------------------------------------------------

_numbers = itertools.count()

OFFSETS = st.one_of(
    st.integers(0, 4 * 3_600).map(lambda s: timedelta(seconds=s)),
    st.integers(0, 240).map(lambda m: timedelta(minutes=m)),
    st.integers(0, 4).map(lambda h: timedelta(hours=h)),
    st.integers(0, 4 * 3_600 * 1_000_000).map(lambda us: timedelta(microseconds=us)),
)


@given(
    begin=OFFSETS,
    steps=st.lists(OFFSETS, max_size=3),
    calls=st.lists(
        st.tuples(OFFSETS, st.none() | st.integers(1, 4), st.booleans(), st.none() | st.just(5.0)), max_size=25
    ),
    refresh_after=st.integers(0, 25),
)
@examples(20)
def test_metrics_are_what_the_rows_say(
    store: ExecutionStore, begin: timedelta, steps: list[timedelta], calls: list[Any], refresh_after: int
) -> None:
    """An execution counts for the version it names, else for the one that was live when it began; aggregated or not."""
    began = [START + begin]
    for step in steps:
        began.append(began[-1] + step)
    ended = [*began[1:], datetime.max.replace(tzinfo=NOW.tzinfo)]
    expected = {number: [0, 0, 0, 0.0] for number in range(1, len(began) + 1)}
    tool = f"tool_{next(_numbers)}"
    lives(store, *((number, at) for number, at in enumerate(began, 1)), tool=tool)
    for position, (offset, named, success, duration) in enumerate(calls):
        at = START + offset
        store.store_tool_execution(
            tool_name=tool, success=success, duration_ms=duration, executed_at=at, version_number=named
        )
        if position == refresh_after:
            store.fold()
        live = next((n for n, (a, b) in enumerate(zip(began, ended, strict=True), 1) if a <= at < b), None)
        found = expected.get(named or live or 0)
        if found is not None:
            found[0] += 1
            found[1] += success
            found[2] += duration is not None
            found[3] += duration or 0.0
    mean = {n: (e, s, total / timed if timed else None) for n, (e, s, timed, total) in expected.items()}
    assert counts(store, tool) == mean
    store.fold()
    assert counts(store, tool) == mean


def test_late_executions_and_repeated_refreshes(store: ExecutionStore) -> None:
    """An execution that arrives late counts at once, and refreshing again changes nothing."""
    lives(store, (1, START), (2, START + HOUR))
    record(store, START + MINUTE, START + 2 * HOUR)
    store.fold()
    assert counts(store) == {1: (1, 1, 10.0), 2: (1, 0, 20.0)}
    record(store, START + 2 * MINUTE)
    record(store, NOW, version=1)
    for _ in range(3):
        assert counts(store) == {1: (3, 3, 10.0), 2: (1, 0, 20.0)}
        store.fold()


def test_tools_do_not_mix(store: ExecutionStore) -> None:
    """Executions of one tool never count for another, nor do those from before it was deployed."""
    for tool in ("my_tool", "other"):
        lives(store, (1, START), tool=tool)
        record(store, START - SECOND, START, START + HOUR, tool=tool)
        record(store, START - HOUR, version=1, tool=tool)
    assert counts(store) == counts(store, "other") == {1: (3, 2, 20.0)}


def test_metrics_outlive_the_raw_rows(store: ExecutionStore) -> None:
    """When retention has removed the executions, every version still has its metrics."""
    lives(store, (1, START), (2, START + DAY))
    record(store, *(START + i * HOUR / 2 for i in range(100)))
    record(store, START + 30 * SECOND, START + DAY + 30 * SECOND, version=1)
    before = counts(store)
    assert sum(executions for executions, _, _ in before.values()) == 102
    while not store.tidy(now=NOW).finished:
        pass
    assert counts(store) == before
    with store.database.read() as connection:
        assert connection.execute(sa.text("SELECT COUNT(*) FROM tool_executions")).scalar_one() <= 1


# --- what became of a version ----------------------------------------------------------------------------------------


def test_what_became_of_each_version(guard: Guard) -> None:
    """The view tells which version is live, how often each was, which was rolled back and why."""
    for number in (1, 2, 3):
        guard.deploy(number, at=START + number * HOUR)
    guard.monitor.roll_back("my_tool", reason="it fails", to_version=1, now=START + 5 * HOUR)
    guard.store.versions.add("my_tool", code(4).encode(), kind="bugfix", created_by="ada", reason="x", now=NOW)
    rows = history(guard.store)
    told = {
        number: (r["is_live"], r["times_deployed"], r["times_restored"], r["was_rolled_back"], r["rolled_back_reason"])
        for number, r in rows.items()
    }
    assert told == {
        1: (True, 2, 1, False, None),
        2: (False, 1, 0, False, None),
        3: (False, 1, 0, True, "it fails"),
        4: (False, 0, 0, False, None),
    }
    assert rows[1]["first_deployed_at"] == START + HOUR
    assert rows[1]["last_deployed_at"] == START + 5 * HOUR
    assert (rows[4]["kind"], rows[4]["created_by"], rows[4]["parent_version"]) == ("bugfix", "ada", 1)
    assert rows[4]["first_deployed_at"] is None
    assert [d.kind for d in guard.store.versions.deployments("my_tool")] == ["rollback", *["deployment"] * 3]


def test_stability_of_versions(guard: Guard) -> None:
    """Of 3 deployments 1 was rolled back; what the rollback brought back is no deployment of its own."""
    for number in (1, 2, 3):
        guard.deploy(number, at=START + number * HOUR)
    guard.monitor.roll_back("my_tool", reason="it fails", now=START + 5 * HOUR)
    guard.deploy(4, tool="other", at=START)
    row = stability(guard.store)
    live_hours = row.pop("avg_hours_live")
    assert row == {
        "tool_name": "my_tool",
        "versions": 3,
        "versions_deployed": 3,
        "versions_rolled_back": 1,
        "deployments": 3,
        "rollbacks": 1,
        "rollback_rate": pytest.approx(1 / 3),
        "current_version": 2,
        "current_since": START + 5 * HOUR,
    }
    since = (datetime.now(NOW.tzinfo) - (START + 5 * HOUR)) / HOUR
    assert live_hours == pytest.approx((1 + 1 + 2 + since) / 4, abs=0.01)
    assert [r["tool_name"] for r in guard.store.reports.version_stability()] == ["my_tool", "other"]


def test_a_tool_that_was_never_deployed(store: ExecutionStore) -> None:
    """A version that is only kept is in both views, with nothing to tell of it."""
    store.versions.add("my_tool", code(1).encode(), kind=None, created_by="me", reason=None, now=NOW)
    row = history(store)[1]
    assert (row["kind"], row["executions"], row["success_rate"], row["avg_duration_ms"]) == ("initial", 0, None, None)
    row = stability(store)
    assert (row["deployments"], row["rollback_rate"], row["avg_hours_live"], row["current_version"]) == (
        0,
        None,
        None,
        None,
    )
