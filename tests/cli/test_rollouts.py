"""Rollouts on the command line: begun, followed, and decided by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from rollguard import Rollguard, Settings
from rollguard.cli import exits
from tests.cli.conftest import Shell
from tests.conftest import code


def test_a_rollout_by_hand(shell: Shell) -> None:
    """Begun with --canary, seen by status and show, held, resumed and promoted; the same code again continues it."""
    shell.deploy(1)
    begun = shell.deploy(2, "--canary", "10,25,50")
    assert (begun["version_number"], begun["rollout_id"], begun["changed"]) == (2, 1, True)
    again = shell.deploy(2, "--canary", "10,25,50")
    assert (again["session_id"], again["rollout_id"], again["changed"]) == (begun["session_id"], 1, False)
    said = shell.ok("status").out
    assert "2 beside 1" in said
    assert "1 of 3" in said
    (row,) = shell.ok("status", "--json").json["rollouts"]
    assert (row["state"], row["share"], row["shares"]) == ("ramping", 0.1, [0.1, 0.25, 0.5])
    assert "draw_key" not in row
    assert "stage 1 of 3, ramping: its share is 10 %" in shell.ok("show", "my_tool").out
    assert "ramping" in shell.ok("versions", "my_tool").out
    assert shell.ok("pause", "my_tool", "--json").json["state"] == "paused"
    assert shell.ok("resume", "my_tool", "--json").json["state"] == "ramping"
    promoted = shell.ok("promote", "my_tool", "--by", "ada", "--reason", "enough", "--json").json
    assert (promoted["state"], promoted["ended_by"], promoted["ended_why"]) == ("promoted", "ada", "enough")
    shown = shell.ok("show", "my_tool", "--json").json
    assert (shown["live"]["version_number"], shown["rollout"]["state"]) == (2, "promoted")
    assert shell.ok("call", "my_tool").out == "2\n"
    refused = shell.run("abort", "my_tool")
    assert refused.exit_code != 0
    assert "under no rollout" in refused.err


def test_a_rollback_of_a_tool_under_rollout(shell: Shell) -> None:
    """It rolls the new version back; --dry-run says so."""
    shell.deploy(1)
    shell.deploy(2, "--canary", "50")
    planned = shell.ok("rollback", "my_tool", "--reason", "bad", "--dry-run").out
    assert "Version 1 of my_tool would be live again, in place of version 2" in planned
    shell.ok("rollback", "my_tool", "--reason", "bad", "--yes")
    assert shell.ok("show", "my_tool", "--json").json["rollout"]["state"] == "rolled_back"
    assert shell.ok("call", "my_tool").out == "1\n"


def test_both_kinds_of_evidence_are_shown(shell: Shell) -> None:
    """After a check, show says what both versions did, and what the calls before and since the deployment say."""
    shell.deploy(1)
    shell.calls(50, 0)
    shell.deploy(2, "--canary", "50")
    at = datetime.now(UTC) - timedelta(seconds=0)
    drawn = [
        {
            **{"tool_name": "my_tool", "success": True, "executed_at": (at + timedelta(milliseconds=n)).isoformat()},
            **{"version_number": 1 + n % 2, "rollout_id": 1, "stage": 0, "arm": "new" if n % 2 else "old"},
        }
        for n in range(20)
    ]
    shell.ok("record", "--file", "-", stdin="\n".join(map(json.dumps, drawn)))
    with Rollguard(Settings.load(shell.folder / "rollguard.toml")) as guard:
        guard.monitor.auto_rollback_if_needed("my_tool", 2, now=at + timedelta(seconds=30))
    said = shell.ok("show", "my_tool").out
    assert said.count("beside each other 0 of 10 units failed on the new version and 0 of 10 on the old one") == 1
    assert "since the deployment and before:" in said
    (row,) = shell.ok("status", "--json").json["rollouts"]
    assert row["evidence"]["present"] is False


def test_the_settings_decide(shell: Shell) -> None:
    """[monitor] rollout makes it the default; --canary off replaces at once; invalid shares are refused."""
    shell.write("rollguard.toml", "[monitor]\nrollout = [0.2, 0.5]\n[tools.other]\nrollout = []\n")
    assert shell.deploy(1)["rollout_id"] is None
    assert shell.deploy(2)["rollout_id"] == 1
    assert shell.deploy(3, "--canary", "off")["rollout_id"] is None
    shell.deploy(1, tool="other")
    assert shell.deploy(2, tool="other")["rollout_id"] is None
    for wrong in ("50,10", "0", "100", "ten", "10,x", "", "nan"):
        refused = shell.run("deploy", "-", "--tool", "my_tool", "--canary", wrong, stdin=code(4))
        assert (refused.exit_code, "rising percentages" in refused.err) == (exits.USAGE, True)
    refused = shell.run("deploy", "-", "--tool", "my_tool", "--canary", "50", "--no-watch", stdin=code(4))
    assert "nobody could decide" in refused.err
    shell.write("rollguard.toml", "[monitor]\nrollout = [0.5, 0.2]\n")
    assert "monitor.rollout: [0.5, 0.2] is not a list of rising shares" in shell.run("status").err


def test_what_breaks_callers_cannot_share(shell: Shell) -> None:
    """It is refused with the change named, and the exit code of breaking changes."""
    shell.deploy(1)
    refused = shell.run(
        "deploy", "-", "--tool", "my_tool", "--canary", "50", stdin="def my_tool(y: int) -> int:\n    return y\n"
    )
    assert refused.exit_code == exits.BREAKING
    assert "cannot serve beside the live version" in refused.err


def test_a_release_that_holds_the_tool(shell: Shell) -> None:
    """It is refused, unless --replace ends the rollout."""
    shell.deploy(1)
    shell.deploy(2, "--canary", "50")
    file = shell.write("new/my_tool.py", code(3))
    refused = shell.run("release", "v1", file)
    assert "promote or abort it" in refused.err
    shell.ok("release", "v1", file, "--replace")
    assert shell.ok("status", "--json").json["rollouts"] == []
