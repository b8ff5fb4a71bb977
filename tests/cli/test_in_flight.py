"""Calls that do not end, and tools that nobody calls any more, are shown where people look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollguard import Rollguard
from rollguard.model.in_flight import CallInFlight
from tests.cli.conftest import Shell


def test_status_and_doctor(shell: Shell) -> None:
    """`status` lists calls in flight and silent tools, `doctor` warns of calls that run for more than a minute."""
    shell.deploy(1)
    now = datetime.now(UTC)
    assert "Running" not in shell.ok("status").out
    assert "calls: none runs for more than a minute" in shell.run("doctor").out
    with Rollguard.from_settings() as guard:
        session_id = guard.monitor.get_active_sessions()[0].session_id
        calls = [CallInFlight("my_tool", 1, now - timedelta(minutes=age)) for age in (0, 9)]
        guard.store.in_flight.publish("a-process", calls)
        for hour in range(30, 10, -1):
            guard.store.store_tool_execution(
                tool_name="my_tool", success=True, executed_at=now - timedelta(hours=hour), version_number=1
            )
        assert guard.monitor.check_health("my_tool", session_id)["silence"]["by"] == "time"
    shown = shell.ok("status").out
    assert "my_tool: nobody calls it any more; the last call was 11 h ago." in " ".join(shown.split())
    assert "Running" in shown
    listed = shell.ok("status", "--json").json
    assert [call["version_number"] for call in listed["in_flight"]] == [1, 1]
    assert [row["tool_name"] for row in listed["silent"]] == ["my_tool"]
    doctor = " ".join(shell.run("doctor").out.split())
    assert "my_tool version 1: a call runs for 9 min in process" in doctor
    assert doctor.count("a call runs for") == 1
