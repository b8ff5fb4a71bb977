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


def test_investigate(shell_on: Shell) -> None:
    """The report of a tool is printed for people, as Markdown and as JSON, and is kept."""
    bad = '{"tool_name": "t", "success": false, "error": "KeyError: 5", "parameters": {"a": 1}}\n' * 20
    good = '{"tool_name": "t", "success": true, "parameters": {"a": 2, "b": 1}}\n' * 20
    shell_on.ok("record", "--file", "-", stdin=bad + good)
    told = shell_on.ok("investigate", "t").out
    assert "t: 20 of 40 calls that were read failed" in told
    assert "• $.a = 1 (20 of 20 calls failed, q = " in told
    assert "KeyError: <number>" in told
    found = shell_on.ok("investigate", "t", "--json").json
    assert list(found["causes"][0]) == ["kind", "path", "predicate", "failures", "calls", "q_value", "confirmed"]
    assert found["causes"][0]["kind"] == "value"
    assert shell_on.ok("investigate", "t", "--markdown").out.startswith("# Why t fails\n")
    assert shell_on.run("investigate", "t", "--markdown", "--json").exit_code == 2
    assert "neither a call" in shell_on.run("investigate", "other").err
    assert shell_on.run("investigate", "t", "--version", 3).exit_code == 1
