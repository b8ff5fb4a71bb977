"""The contract's Python blocks, run as they stand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput
from tests.conftest import Guard
from tests.contract.sql import block
from tests.contract.stories import HOUR, deploy, present

Check = Callable[[object], Coroutine[Any, Any, None]]


def _run(name: str, **names: Any) -> dict[str, Any]:
    """Run a block with these names defined; what is defined afterwards is returned."""
    exec(compile(block(name), name, "exec"), names)
    return names


def _regressed(guard: Guard) -> int:
    """A session that fell by 18 points in its first 6 hours, up to the present."""
    at = present() - 6 * HOUR
    session_id = deploy(guard, "my_tool", at=at, baseline=(90, 10))
    guard.calls(18, 7, start=at, hours=5)
    return session_id


def test_start_monitoring_block(guard: Guard) -> None:
    """The block that starts monitoring runs as it stands: its session is stored and watches the live version."""
    guard.deploy(1)
    before = datetime.now(UTC)
    session_id = _run("start_monitoring.py.txt", deployment_monitor=guard.monitor, datetime=datetime)["session_id"]
    session = guard.session(session_id)
    assert (session.tool_name, session.status, session.version_number) == ("my_tool", "active", 1)
    assert before <= session.deployment_time <= datetime.now(UTC)


def test_auto_rollback_block(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """The block that rolls back runs as it stands, with a session's number, and prints reason and drop."""
    session_id = _regressed(guard)
    text = block("auto_rollback.py.txt")
    assert text.count("'session_123'") == 1
    names: dict[str, Any] = {"deployment_monitor": guard.monitor}
    exec(text.replace("'session_123'", str(session_id)), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "🚨 Auto-rollback triggered!"
    assert lines[1].startswith("   Reason: 7 of 25 calls failed (28 %) since the deployment")
    assert lines[2] == "   Drop: 18.0%"
    assert names["rollback_result"]["rollback_performed"] is True
    assert guard.session(session_id).status == "rolled_back"


def test_a_sessions_id_is_its_number(guard: Guard) -> None:
    """The block's 'session_123' stands for a session's number; a text is refused with words that say so."""
    _regressed(guard)
    with pytest.raises(InvalidInput, match="'session_123' is not a session's number"):
        _run("auto_rollback.py.txt", deployment_monitor=guard.monitor)


def test_configuration_block(store: ExecutionStore, registry: ToolRegistry) -> None:
    """The block that configures a monitor runs as it stands, and what it says is what a session is judged by."""
    names = _run("configuration.py.txt", DeploymentMonitor=DeploymentMonitor, store=store, registry=registry)
    guard = Guard(store, registry, names["deployment_monitor"])
    guard.deploy(1)
    rules = guard.session(guard.watch()).rules
    assert (rules.monitoring_window_hours, rules.baseline_window_days) == (24, 7)
    assert (rules.regression_threshold, rules.min_executions) == (0.15, 10)


async def test_check_deployment_health_block(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """The loop's block runs as it stands over the active sessions, logs the rollback and counts it."""
    _regressed(guard)
    fine = deploy(guard, "other_tool", at=present() - 6 * HOUR, baseline=(90, 10))
    guard.calls(18, 2, start=present() - 6 * HOUR, hours=5, tool="other_tool")
    stats = {"rollbacks_triggered": 0}
    names = _run(
        "check_deployment_health.py.txt",
        get_active_sessions=guard.monitor.get_active_sessions,
        deployment_monitor=guard.monitor,
        logger=logging.getLogger("contract"),
        stats=stats,
    )
    check: Check = names["_check_deployment_health"]
    with caplog.at_level(logging.WARNING, logger="contract"):
        await check(None)
    assert stats == {"rollbacks_triggered": 1}
    assert "🚨 AUTO-ROLLBACK: my_tool" in caplog.messages
    assert [session.session_id for session in guard.monitor.get_active_sessions()] == [fine]
