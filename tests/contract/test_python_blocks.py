"""The contract's Python blocks, run as they stand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput, UnknownSession
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
    """The block that rolls back runs as it stands: 'session_123' is session 123. It prints reason and drop."""
    first_is(guard, 123)
    assert _regressed(guard) == 123
    names = _run("auto_rollback.py.txt", deployment_monitor=guard.monitor)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "🚨 Auto-rollback triggered!"
    assert lines[1].startswith("   Reason: 7 of 25 calls failed (28 %) since the deployment")
    assert lines[2] == "   Drop: 18.0%"
    assert names["rollback_result"]["rollback_performed"] is True
    assert guard.session(123).status == "rolled_back"


@pytest.mark.parametrize("form", ["{}", "session_{}", " {} ", "0{}"])
def test_a_sessions_id_may_be_text(guard: Guard, form: str) -> None:
    """The number of a session may be given as text, alone or after `session_`."""
    number = _regressed(guard)
    given: Any = form.format(number)
    assert guard.monitor.check_health("my_tool", given, now=guard.now + timedelta(hours=6))["session_id"] == number


@pytest.mark.parametrize("given", ["latest", "session_", "1.0", "-1", "0", "", "1 2", True, 1.5, None])
def test_what_is_no_sessions_id(guard: Guard, given: Any) -> None:
    """A text that holds no session's number is refused with words that say so; so is a session that is not there."""
    with pytest.raises(InvalidInput, match="is not a session's number"):
        guard.monitor.check_health("my_tool", given)
    with pytest.raises(UnknownSession):
        guard.monitor.check_health("my_tool", "session_999")


def first_is(guard: Guard, number: int) -> None:
    """Have the next session get this number."""
    with guard.store.database.write() as connection:
        if guard.store.database.dialect == "sqlite":
            columns = "session_id, tool_name, deployment_time, monitoring_started_at, status, completed_at"
            values = f"{number - 1}, 'other', '2026-01-01', '2026-01-01', 'cancelled', '2026-01-01'"
            connection.execute(sa.text(f"INSERT INTO deployment_monitoring ({columns}) VALUES ({values})"))
        else:
            connection.execute(sa.text(f"SELECT setval('deployment_monitoring_session_id_seq', {number - 1})"))


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
