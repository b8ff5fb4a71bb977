"""The settings: the contract's defaults, and the variants that its best practices name."""

from __future__ import annotations

import inspect
from datetime import timedelta
from pathlib import Path

import pytest

from rollguard import AutonomousLoop, DeploymentMonitor, ExecutionStore, Rollguard, Settings, ToolRegistry
from tests.acceptance.helpers import TEN_AM, after, baseline, current, deploy_at_ten
from tests.conftest import Guard

DEFAULTS = (24, 7, 0.15, 10)


def _rules(guard: Guard, session_id: int) -> tuple[int, int, float, int]:
    rules = guard.session(session_id).rules
    return (
        rules.monitoring_window_hours,
        rules.baseline_window_days,
        rules.regression_threshold,
        rules.min_executions,
    )


def test_defaults_are_the_contracts(guard: Guard) -> None:
    """Without settings a deployment is watched for 24 hours against 7 days, at 15 points, from 10 executions on."""
    assert _rules(guard, deploy_at_ten(guard)) == DEFAULTS


def test_defaults_of_the_settings_file_are_the_contracts(url: str, tmp_path: Path) -> None:
    """A system wired from settings that say nothing has the same defaults, and checks every 5 minutes."""
    settings = Settings(database=url, tools_dir=tmp_path / "tools")
    with Rollguard(settings) as rollguard:
        deployed = rollguard.deploy("my_tool", "def my_tool():\n    return 1\n", deployed_at=TEN_AM)
        assert deployed.session_id is not None
        rules = rollguard.monitor.get_session(deployed.session_id).rules
    assert (rules.monitoring_window_hours, rules.baseline_window_days) == (24, 7)
    assert (rules.regression_threshold, rules.min_executions) == (0.15, 10)
    assert settings.watch.check_interval_seconds == 5 * 60


def test_the_loop_checks_every_5_minutes_by_default() -> None:
    """The autonomous loop's interval is 5 minutes where nothing else is said."""
    assert inspect.signature(AutonomousLoop).parameters["check_interval_seconds"].default == 5 * 60


def test_settings_can_be_given_in_the_order_of_the_contract(store: ExecutionStore, registry: ToolRegistry) -> None:
    """The constructor takes the contract's settings in the contract's order, by name or by place."""
    names = list(inspect.signature(DeploymentMonitor).parameters)[:6]
    assert names == [
        "execution_store",
        "tool_registry",
        "monitoring_window_hours",
        "baseline_window_days",
        "regression_threshold",
        "min_executions",
    ]
    guard = Guard(store, registry, DeploymentMonitor(store, registry, 48, 14, 0.1, 30))
    assert _rules(guard, deploy_at_ten(guard)) == (48, 14, 0.1, 30)


@pytest.mark.parametrize(
    ("threshold", "failures_of_100", "severity"),
    [
        (0.10, 20, "medium"),
        (0.10, 19, "none"),
        (0.15, 25, "medium"),
        (0.15, 24, "none"),
        (0.20, 30, "high"),
        (0.20, 29, "none"),
    ],
)
def test_threshold_for_critical_usual_and_experimental_tools(
    store: ExecutionStore, registry: ToolRegistry, threshold: float, failures_of_100: int, severity: str
) -> None:
    """A threshold of 10, 15 or 20 points rolls back at exactly that drop and not one point below it."""
    monitor = DeploymentMonitor(store, registry, regression_threshold=threshold)
    guard = Guard(store, registry, monitor)
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 100 - failures_of_100, failures_of_100, hours=6)
    result = monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert result["comparison"]["regression_severity"] == severity
    assert result["rollback_performed"] is (severity != "none")
    assert guard.registry.call("my_tool") == (2 if severity == "none" else 1)


@pytest.mark.parametrize("hours", [12, 24, 48])
def test_window_of_12_24_and_48_hours(store: ExecutionStore, registry: ToolRegistry, hours: int) -> None:
    """A deployment is watched for as long as was set: active a second before the end, completed at the end."""
    monitor = DeploymentMonitor(store, registry, monitoring_window_hours=hours)
    guard = Guard(store, registry, monitor)
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 18, 2, hours=6)
    monitor.auto_rollback_if_needed("my_tool", session_id, now=after(hours) - timedelta(seconds=1))
    assert guard.session(session_id).status == "active"
    monitor.auto_rollback_if_needed("my_tool", session_id, now=after(hours))
    assert guard.session(session_id).status == "completed"


@pytest.mark.parametrize("days", [3, 7, 14])
def test_baseline_of_3_7_and_14_days(store: ExecutionStore, registry: ToolRegistry, days: int) -> None:
    """The baseline reaches as many days back as was set: its first moment belongs to it, the one before does not."""
    monitor = DeploymentMonitor(store, registry, baseline_window_days=days)
    guard = Guard(store, registry, monitor)
    session_id = deploy_at_ten(guard)
    start = TEN_AM - timedelta(days=days)
    store.store_tool_execution(tool_name="my_tool", success=False, executed_at=start - timedelta(microseconds=1))
    store.store_tool_execution(tool_name="my_tool", success=True, executed_at=start)
    store.store_tool_execution(tool_name="my_tool", success=True, executed_at=TEN_AM - timedelta(microseconds=1))
    report = monitor.check_health("my_tool", session_id, now=after(1))
    assert (report["baseline"]["total_executions"], report["baseline"]["successes"]) == (2, 2)
    assert (report["baseline"]["start"], report["baseline"]["end"]) == (start.isoformat(), TEN_AM.isoformat())


def test_settings_of_one_session_and_of_one_tool(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A tool may have settings of its own, and a session again its own; both are kept with the session."""
    monitor = DeploymentMonitor(store, registry, tool_overrides={"my_tool": {"regression_threshold": 0.1}})
    guard = Guard(store, registry, monitor)
    session_id = deploy_at_ten(guard, monitoring_window_hours=48)
    assert _rules(guard, session_id) == (48, 7, 0.1, 10)
    guard.deploy(1, tool="other_tool", at=TEN_AM)
    assert _rules(guard, guard.watch(tool="other_tool", at=TEN_AM)) == DEFAULTS


def test_parts_are_where_the_contract_names_them() -> None:
    """DeploymentMonitor lives in deployment_monitor, and the autonomous loop beside it."""
    assert DeploymentMonitor.__module__ == "rollguard.monitor.deployment_monitor"
    assert AutonomousLoop.__module__ == "rollguard.loop.autonomous_loop"
