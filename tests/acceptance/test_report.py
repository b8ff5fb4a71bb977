"""The report of a check and the answer of a rollback: every key by its name, every value JSON-safe."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.helpers import TEN_AM, WEEK, after, baseline, current, deploy_at_ten
from tests.conftest import Guard

REPORT = {
    "tool_name",
    "session_id",
    "deployment_time",
    "hours_since_deployment",
    "checked_at",
    "baseline",
    "current",
    "comparison",
    "evidence",
    "verdict",
    "reasons",
    "needs_rollback",
}
OF_THE_SESSION = {"session_status", "version_number"}  # which session and version the report speaks of
OF_DECIDING = {
    "decision",
    "trigger",
    "slowdown",
    "scores",
    "explanations",
    "executions_needed",
    "baseline_notes",
    "creeping",
    "hangs",
    "rollout",
    "confirmation",
}
OF_CALLING = {"in_flight", "silence"}
ROLLBACK = {"rollback_performed", "rollback_type", "reason", "success_rate_drop", "rollback_result"}
WINDOW = {
    "period",
    "start",
    "end",
    "total_executions",
    "successes",
    "success_rate",
    "avg_duration_ms",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "sufficient_data",
}
COMPARISON = {
    "has_sufficient_data",
    "baseline_success_rate",
    "current_success_rate",
    "success_rate_change",
    "success_rate_drop",
    "duration_change",
    "performance_degradation",
    "regression_detected",
    "regression_severity",
    "warning",
}
EVIDENCE = {"alpha", "delta", "log_e", "required", "present"}


def _watched(guard: Guard) -> int:
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=6, ms=15.0)
    return session_id


def test_report_has_exactly_the_keys_that_are_promised(guard: Guard) -> None:
    """A report has the keys that are promised, in every part of it, and no other."""
    report = guard.monitor.check_health("my_tool", _watched(guard), now=after(6))
    assert set(report) == REPORT | OF_THE_SESSION | OF_DECIDING | OF_CALLING
    assert set(report["baseline"]) == WINDOW | {"left_out"}
    assert set(report["baseline"]["left_out"]) == {"versions", "executions", "outage_minutes", "reaches_back_to"}
    assert set(report["current"]) == WINDOW
    assert set(report["comparison"]) == COMPARISON
    assert set(report["evidence"]) == EVIDENCE


def test_rollback_answer_adds_its_keys_at_the_top(guard: Guard) -> None:
    """The answer of auto_rollback_if_needed is the report and five keys more."""
    result = guard.monitor.auto_rollback_if_needed("my_tool", _watched(guard), now=after(6))
    assert set(result) == REPORT | OF_THE_SESSION | OF_DECIDING | OF_CALLING | ROLLBACK


def test_report_says_what_was_counted(guard: Guard) -> None:
    """The report's numbers and times are those of the two windows at the moment of the check."""
    session_id = _watched(guard)
    report = guard.monitor.check_health("my_tool", session_id, now=after(6))
    assert (report["tool_name"], report["session_id"], report["version_number"]) == ("my_tool", session_id, 2)
    assert report["deployment_time"] == TEN_AM.isoformat()
    assert (report["hours_since_deployment"], report["checked_at"]) == (6.0, after(6).isoformat())
    assert report["baseline"] == {
        "period": "7 days before deployment",
        "start": (TEN_AM - WEEK).isoformat(),
        "end": TEN_AM.isoformat(),
        "total_executions": 100,
        "successes": 90,
        "success_rate": 0.9,
        "avg_duration_ms": 10.0,
        **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), pytest.approx(10.0, rel=0.025)),
        "sufficient_data": True,
        "left_out": {"versions": [], "executions": 0, "outage_minutes": 0, "reaches_back_to": None},
    }
    assert report["current"] == {
        "period": "since deployment",
        "start": TEN_AM.isoformat(),
        "end": after(6).isoformat(),
        "total_executions": 25,
        "successes": 18,
        "success_rate": 0.72,
        "avg_duration_ms": 15.0,
        **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), pytest.approx(15.0, rel=0.025)),
        "sufficient_data": True,
    }
    assert report["comparison"]["duration_change"] == 0.5
    assert report["verdict"] == "regressed"
    assert "7 of 25 calls failed" in report["reasons"][0]


@pytest.mark.parametrize("before", [(0, 0), (90, 10)], ids=["empty baseline", "baseline"])
@pytest.mark.parametrize("since", [(0, 0), (25, 0), (0, 25)], ids=["no calls", "all succeed", "all fail"])
def test_reports_are_json_safe(guard: Guard, before: tuple[int, int], since: tuple[int, int]) -> None:
    """Every report and every answer survives JSON unchanged, without NaN, whatever the windows hold."""
    session_id = deploy_at_ten(guard)
    if sum(before):
        baseline(guard, *before)
    if sum(since):
        current(guard, *since, hours=1)
    report = guard.monitor.check_health("my_tool", session_id, now=after(2))
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    assert _through_json(report) == report
    assert _through_json(result) == result
    assert result["rollback_performed"] is (sum(before) > 0 and since == (0, 25))


def test_no_data_is_never_healthy(guard: Guard) -> None:
    """Without executions there are no rates, no drop and no health: the verdict is insufficient_data."""
    report = guard.monitor.check_health("my_tool", deploy_at_ten(guard), now=after(1))
    assert report["verdict"] == "insufficient_data"
    assert report["baseline"]["success_rate"] is None
    assert report["comparison"]["success_rate_drop"] is None
    assert report["needs_rollback"] is False


def test_drop_can_be_printed_as_the_contract_does(guard: Guard) -> None:
    """`success_rate_drop` is a number at the top of the answer that formats as a percentage."""
    result = guard.monitor.auto_rollback_if_needed("my_tool", _watched(guard), now=after(6))
    assert f"{result['success_rate_drop']:.1%}" == "18.0%"
    assert result["rollback_type"] == "threshold"
    assert result["reason"] == result["reasons"][0]
    assert result["rollback_result"]["rollback_successful"] is True
    assert (result["rollback_result"]["from_version"], result["rollback_result"]["to_version"]) == (2, 1)


def test_answer_without_a_rollback(guard: Guard) -> None:
    """Where nothing is rolled back, the keys are there too and say so, with the drop as a number."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 22, 3, hours=6)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert (result["rollback_performed"], result["rollback_type"], result["rollback_result"]) == (False, None, None)
    assert f"{result['success_rate_drop']:.1%}" == "2.0%"
    assert result["reason"] == result["reasons"][0]


def test_check_health_alone_rolls_nothing_back(guard: Guard) -> None:
    """A check says that a rollback is needed; making it is another step."""
    session_id = _watched(guard)
    report = guard.monitor.check_health("my_tool", session_id, now=after(6))
    assert report["needs_rollback"] is True
    assert guard.session(session_id).status == "active"
    assert guard.registry.call("my_tool") == 2


def _through_json(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))
