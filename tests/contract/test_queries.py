"""The contract's four queries, verbatim, with the rows they are to give."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Guard
from tests.contract.sql import ask, block, moment
from tests.contract.stories import (
    DAY,
    HOUR,
    START,
    five_and_ten_deployments,
    present,
    regress,
    rollbacks_of_two_weeks,
    tools_that_need_attention,
    two_tools_under_watch,
)

ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


def test_active_regressions(guard: Guard, url: str) -> None:
    """Tools with active regressions are those whose latest check found one; others under watch are not shown."""
    _, bad = two_tools_under_watch(guard, present())
    regress(guard, "rolled_back_tool", at=START, successes=5, hours=3)
    rows = ask(url, block("active_regressions.sql"))
    assert [(row["session_id"], row["tool_name"], row["latest_success_rate_drop"]) for row in rows] == [
        (bad, "other_tool", 0.18)
    ]


@pytest.mark.parametrize("dialect", ["postgresql"])
@pytest.mark.parametrize("zone", ZONES)
def test_recent_rollbacks(guard: Guard, url: str, zone: str) -> None:
    """Rollbacks of the last 7 days are shown, newest first, the same in a session of any time zone."""
    now = present()
    rollbacks_of_two_weeks(guard, now)
    rows = ask(url, block("recent_rollbacks.sql"), time_zone=zone)
    assert [
        (row["tool_name"], moment(row["rollback_time"]), row["success_rate_drop"], row["regression_severity"])
        for row in rows
    ] == [
        ("two_hours", now - 2 * HOUR, 0.2, "high"),
        ("three_days", now - 3 * DAY, 0.25, "high"),
        ("nearly_seven", now - 7 * DAY + 2 * HOUR, 0.4, "critical"),
    ]
    assert re.match(r"6 of 20 calls failed \(30 %\) since the deployment, .*: drop 20 points", rows[0]["reason"])


def test_tools_needing_attention(guard: Guard, url: str) -> None:
    """Tools that regressed, or are past their window with fewer than 5 checks, need attention; others do not."""
    tools_that_need_attention(guard, present())
    rows = ask(url, block("tools_needing_attention.sql"))
    shown = [(row["tool_name"], row["latest_success_rate_drop"], row["check_count"]) for row in rows]
    never, known = ("never_checked", None, 0), [("other_tool", 0.18, 2), ("hardly_checked", 0.05, 4)]
    # The verbatim query leaves to the database where a missing drop is sorted: PostgreSQL first, SQLite last.
    assert shown == ([never, *known] if url.startswith("postgresql") else [*known, never])


def test_stability_report(guard: Guard, url: str) -> None:
    """Tools with more than 20 % of their deployments rolled back are shown, those with most deployments first."""
    five_and_ten_deployments(guard)
    regress(guard, "once_tool", at=START, successes=5, hours=3)
    for number in range(5):  # exactly 20 %: not more
        if number == 0:
            regress(guard, "edge_tool", at=START, successes=5, hours=3)
        else:
            at = START + 10 * number * DAY
            guard.deploy(number + 2, tool="edge_tool", at=at)
            guard.watch(tool="edge_tool", at=at)
    rows = ask(url, block("stability_report.sql"))
    assert [(row["tool_name"], row["total_deployments"], row["rollback_rate"]) for row in rows] == [
        ("problematic_tool", 5, 0.6),
        ("once_tool", 1, 1.0),
    ]
    everything = {row["tool_name"]: row["rollback_rate"] for row in ask(url, block("deployment_stability.sql"))}
    assert everything["edge_tool"] == 0.2
