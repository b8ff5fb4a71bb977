"""A bad deployment from its baseline to its rollback, on each database, all through the command line."""

from __future__ import annotations

from datetime import datetime

from tests.cli.conftest import Shell


def test_bad_deployment_is_found_and_rolled_back(shell_on: Shell) -> None:
    """`health` answers 3 while a regression is live, `watch --once` rolls it back, and every list tells of it."""
    shell = shell_on
    shell.deploy(1)
    shell.calls(19, 1)
    assert shell.deploy(2, "--reason", "faster", "--by", "ada") == {
        "tool_name": "my_tool",
        "version_number": 2,
        "session_id": 2,
        "changed": True,
        "changes": [],
        "put_back": False,
        "rollout_id": None,
    }
    shell.calls(6, 6)

    checked = shell.run("health", "my_tool", "--json")
    assert checked.exit_code == 3
    assert checked.json["comparison"]["success_rate_drop"] == 0.45
    (watched,) = shell.ok("status", "--json").json["sessions"]
    assert (watched["session_id"], watched["latest_verdict"], watched["check_count"]) == (2, "regressed", 1)
    assert datetime.fromisoformat(watched["latest_check_at"]).tzinfo is not None

    assert shell.ok("watch", "--once", "--json").json["rollbacks_triggered"] == 1
    assert shell.ok("status", "--json").json["sessions"] == []
    assert shell.ok("call", "my_tool", "x=1").json == 2  # version 1 adds 1
    assert [session["status"] for session in shell.ok("sessions", "--json").json] == ["rolled_back", "superseded"]
    (rollback,) = shell.ok("rollbacks", "--json").json
    assert (rollback["from_version"], rollback["to_version"], rollback["rollback_successful"]) == (2, 1, True)
    (stability,) = shell.ok("stability", "--json").json
    assert (stability["total_deployments"], stability["rollback_rate"]) == (2, 0.5)
    history = shell.ok("history", "my_tool", "--json").json
    assert history["live_version"] == 1
    assert history["versions"][0]["created_by"] == "ada"
    assert [deployment["version_number"] for deployment in history["deployments"]] == [1, 2, 1]
    assert shell.run("health", "my_tool").exit_code == 3, "the rolled-back session's last word stays"


def test_tables_tell_the_story_to_people(shell_on: Shell) -> None:
    """Without --json the same commands show tables that name tool, versions, rates and reasons."""
    shell = shell_on
    shell.deploy(1)
    shell.calls(20, 0)
    shell.deploy(2)
    shell.calls(15, 5)
    health = shell.run("health", "my_tool")
    for words in ("my_tool, version 2", "100 %", "75 %", "−25 pts", "regressed", "high", "Evidence", "Reasons"):
        assert words in health.out
    assert "25 pts" in shell.ok("status").out
    assert "rollbacks: 1" in shell.ok("watch", "--once").out
    assert "2 → 1" in shell.ok("rollbacks").out
    assert "rolled_back" in shell.ok("sessions").out
    assert "50 %" in shell.ok("stability").out
    history = shell.ok("history", "my_tool").out
    assert "live" in history
    assert "rollback" in history


def test_rollback_and_cancel_by_hand(shell_on: Shell) -> None:
    """A person may bring a version back or stop a watch, and the reason is kept."""
    shell = shell_on
    for version in (1, 2, 3):
        shell.deploy(version)
    back = shell.ok("rollback", "my_tool", "--reason", "wrong sums", "--by", "eve", "--to", "1", "--json").json
    assert (back["to_version"], back["requested_by"], back["reason"]) == (1, "eve", "wrong sums")
    session = shell.deploy(4)["session_id"]
    cancelled = shell.ok("cancel", session, "--reason", "an experiment", "--json").json
    assert (cancelled["status"], cancelled["notes"]) == ("cancelled", "an experiment")
    assert "in place of version 4" in shell.ok("rollback", "my_tool", "--reason", "enough").out
    again = shell.run("cancel", session, "--reason", "twice")
    assert again.exit_code == 1
    assert "already cancelled" in again.err


def test_last_good_version_comes_back_without_to(shell: Shell) -> None:
    """Without --to a rollback takes the last good version."""
    for version in (1, 2, 3):
        shell.deploy(version)
    assert shell.ok("rollback", "my_tool", "--reason", "bad", "--json").json["to_version"] == 2


def test_filters_and_limits(shell: Shell) -> None:
    """--tool, --status and --limit choose among sessions, newest first."""
    for tool in ("my_tool", "other"):
        for version in (1, 2):
            shell.deploy(version, tool=tool)
    assert [s["tool_name"] for s in shell.ok("sessions", "--tool", "other", "--json").json] == ["other", "other"]
    assert [s["session_id"] for s in shell.ok("sessions", "--status", "active", "--json").json] == [4, 2]
    assert [s["session_id"] for s in shell.ok("sessions", "--limit", "1", "--json").json] == [4]
    assert "no such sessions" in shell.ok("sessions", "--status", "completed").out
    assert "no such rollbacks" in shell.ok("rollbacks", "--tool", "other").out
