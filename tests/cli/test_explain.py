"""`rollguard explain`: why it was rolled back, with the decision made again."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


def _rolled_back(shell: Shell) -> None:
    shell.deploy(1)
    shell.calls(20, 0)
    shell.deploy(2)
    shell.calls(6, 6)
    shell.ok("watch", "--once")


def test_explains_a_rollback(shell_on: Shell) -> None:
    """Counts, rule, reasons, the rollback and the time line are told, and the decision is the same when made again."""
    shell = shell_on
    _rolled_back(shell)
    told = shell.ok("explain", "2", "--json").json
    assert told["why"][0].startswith("it was rolled back to version 1 (")
    assert told["decision"]["record"]["current"]["total"] == 12
    assert told["checks"] == {"kept": 1, "made_again": 1, "differing": [], "not_replayed": []}
    assert told["rollback"]["to_version"] == 1
    assert told["timeline"][-1]["what"] == "rollback finished: version 1 in place of version 2"
    shown = shell.ok("explain", "2").out
    for words in (
        "it was rolled back to version 1",
        "decision = threshold",
        "Baseline",
        "regressed: 6 of 12",
        "the same",
    ):
        assert words in shown


def test_explains_what_failed(shell_on: Shell) -> None:
    """The kinds of errors since the deployment are told, the most frequent first, each with its latest text."""
    shell = shell_on
    row = {"tool_name": "my_tool", "success": False}
    rare = [{**row, "error": f"no city {number}", "error_type": f"Rare{number}"} for number in range(5)]
    frequent = [{**row, "error": f"no field 'a{number}'\nmore", "error_type": "KeyError"} for number in range(7)]
    shell.deploy(1)
    shell.calls(20, 0)
    shell.ok("record", "--file", "-", stdin=json.dumps({**row, "error_type": "OnlyBefore"}))
    shell.deploy(2)
    shell.ok("record", "--file", "-", stdin="\n".join(map(json.dumps, rare + frequent)))
    shell.ok("watch", "--once")
    failed = shell.ok("explain", "2").out.partition("What failed\n")[2].partition("\n\nRules")[0].splitlines()
    assert failed[0].split() == ["Since", "Before", "Latest", "error"]
    assert failed[2].split(maxsplit=3)[:3] == ["7", "0", "KeyError:"]
    assert "no field 'a" in failed[2]
    assert [line.split()[0] for line in failed[3:7]] == ["1"] * 4
    assert failed[-1] == "1 more kind of error is in: rollguard explain --json"


def test_explains_what_was_not_rolled_back(shell_on: Shell) -> None:
    """A session that was not checked, and one that is healthy so far, say so."""
    shell = shell_on
    shell.deploy(1)
    assert shell.ok("explain", "1", "--json").json["why"] == ["it was not checked yet"]
    shell.calls(20, 0)
    shell.deploy(2)
    shell.calls(20, 0)
    shell.ok("watch", "--once")
    assert "it was not rolled back: the latest verdict is healthy" in shell.ok("explain", "2").out


def test_a_changed_record_is_found(shell: Shell, tmp_path: Path) -> None:
    """Where a record no longer leads to its decision, that is shown, and the exit code is 1."""
    _rolled_back(shell)
    (path,) = tmp_path.rglob("rollguard.db")
    with sqlite3.connect(path) as connection:
        (record,) = connection.execute("SELECT record FROM deployment_health_checks").fetchone()
        changed = json.loads(record)
        changed["current"]["successes"] = 12
        connection.execute("UPDATE deployment_health_checks SET record = ?", (json.dumps(changed),))
    connection.close()
    shown = shell.run("explain", "2")
    assert shown.exit_code == 1
    assert "verdict: recorded 'regressed', now 'healthy'" in shown.out


def test_a_record_that_cannot_be_replayed(shell: Shell, tmp_path: Path) -> None:
    """A record that another program damaged is said to be unreadable, not to be decided differently."""
    _rolled_back(shell)
    (path,) = tmp_path.rglob("rollguard.db")
    for record in ('{"rule_version": 3}', '["no", "record"]', '{"rule_version": 999}'):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE deployment_health_checks SET record = ?", (record,))
        connection.close()
        shown = shell.ok("explain", "2").out
        assert "1 of 1 kept check cannot be decided again" in shown
        assert "differently" not in shown
    assert "has versions" in shell.ok("explain", "2", "--json").json["checks"]["not_replayed"][0]["problem"]


@pytest.mark.parametrize("session", ["99", "0"])
def test_a_session_that_is_not_there(shell: Shell, session: str) -> None:
    """An unknown session is refused with the way to list them."""
    assert "error:" in shell.run("explain", session).err


def test_explains_both_versions_of_a_rollout(shell: Shell) -> None:
    """What both versions did while they served, when that began and how it ended is told, and a backtest marks it."""
    shell.deploy(1)
    shell.calls(60, 0)
    shell.deploy(2, "--canary", "50")
    before = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    drawn = {"tool_name": "my_tool", "rollout_id": 1, "stage": 0, "executed_at": before}
    arms = [{"arm": "new", "version_number": 2, "success": False}, {"arm": "old", "version_number": 1, "success": True}]
    shell.ok("record", "--file", "-", stdin="\n".join(json.dumps(drawn | arm) for arm in arms * 20))
    shell.ok("watch", "--once")
    told = shell.ok("explain", "2", "--json").json
    assert told["rollouts"][0]["new"] == {"units": 20, "failures": 20}
    assert told["rollouts"][0]["old"] == {"units": 20, "failures": 0}
    shown = shell.ok("explain", "2").out
    for words in ("What both versions did", "version 2", "a rollout began: version 2 served 50 % beside version 1"):
        assert words in shown
    assert "in a rollout" in shell.ok("backtest", "--no-false-alarms").out
