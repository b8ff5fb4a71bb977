"""`rollguard opportunities` and `rollguard investigate`."""

from __future__ import annotations

from tests.cli.conftest import Shell


def test_opportunities(shell_on: Shell) -> None:
    """A weak tool is listed with what it costs; a folder without one says so."""
    assert "No tool is weak" in shell_on.ok("opportunities").out
    assert shell_on.ok("opportunities", "--json").json == []
    lines = '{"tool_name": "t", "success": false, "error": "KeyError: 5", "duration_ms": 500}\n' * 20
    shell_on.ok("record", "--file", "-", stdin=lines)
    (found,) = shell_on.ok("opportunities", "--json").json
    assert found == {
        "tool_name": "t",
        "kind": "low_success_rate",
        "priority": "high",
        "calls_lost_per_day": 20,
        "seconds_lost_per_day": 10,
        "left_alone": None,
    }
    assert "20 of 20 calls failed" in " ".join(shell_on.ok("opportunities").out.split())
