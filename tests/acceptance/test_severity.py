"""The bands of severity, at and just below every edge."""

from __future__ import annotations

import pytest

from tests.acceptance.helpers import after, baseline, current, deploy_at_ten
from tests.conftest import Guard

# (successes, failures) before and since: the drop, how it is graded, whether it is rolled back.
EDGES = [
    pytest.param((90, 10), (10, 0), 0.0, "none", id="better"),
    pytest.param((90, 10), (18, 2), 0.0, "none", id="equal"),
    pytest.param((90, 10), (751, 249), 0.149, "none", id="just below 15"),
    pytest.param((95, 5), (8, 2), 0.15, "medium", id="exactly 15, uneven in floats"),
    pytest.param((90, 10), (75, 25), 0.15, "medium", id="exactly 15"),
    pytest.param((90, 10), (701, 299), 0.199, "medium", id="just below 20"),
    pytest.param((90, 10), (7, 3), 0.2, "high", id="exactly 20"),
    pytest.param((90, 10), (601, 399), 0.299, "high", id="just below 30"),
    pytest.param((90, 10), (6, 4), 0.3, "critical", id="exactly 30"),
    pytest.param((85, 15), (10, 10), 0.35, "critical", id="35"),
    pytest.param((10, 0), (0, 10), 1.0, "critical", id="from all to none"),
]


@pytest.mark.parametrize(("before", "since", "drop", "severity"), EDGES)
def test_severity_of_a_drop(
    guard: Guard, before: tuple[int, int], since: tuple[int, int], drop: float, severity: str
) -> None:
    """15 to 20 points is medium, 20 to 30 high, 30 and more critical; all of them roll back, and nothing below."""
    session_id = deploy_at_ten(guard)
    baseline(guard, *before)
    current(guard, *since, hours=6)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    comparison = result["comparison"]
    regressed = severity != "none"
    assert comparison["success_rate_drop"] == drop
    assert comparison["regression_severity"] == severity
    assert comparison["regression_detected"] is regressed
    assert result["needs_rollback"] is regressed
    assert result["verdict"] == ("regressed" if regressed else "healthy")
    assert result["rollback_performed"] is regressed
    assert guard.session(session_id).status == ("rolled_back" if regressed else "active")
    rollback = guard.store.rollbacks.of_session(session_id)
    assert (rollback.regression_severity if rollback else "none") == severity


def test_comparison_is_the_contracts_arithmetic(guard: Guard) -> None:
    """The change is current minus baseline; the drop is its opposite where the rate fell, and 0 where it rose."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 80, 20)
    current(guard, 9, 1, hours=1)
    better = guard.monitor.check_health("my_tool", session_id, now=after(1))["comparison"]
    assert (better["success_rate_change"], better["success_rate_drop"]) == (0.1, 0.0)
    guard.calls(5, 5, start=after(1), hours=1)
    worse = guard.monitor.check_health("my_tool", session_id, now=after(2))["comparison"]
    assert (worse["baseline_success_rate"], worse["current_success_rate"]) == (0.8, 0.7)
    assert (worse["success_rate_change"], worse["success_rate_drop"]) == (-0.1, 0.1)
