"""`rollguard calls` by its former name, and tags on the command line."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell


def test_executions_by_tags(shell_on: Shell) -> None:
    """`rollguard record --tag` tags an execution, and `rollguard executions` filters and counts by tags."""
    tagged = ("--tag", "tenant=a", "--tag", "shard=3")
    shell_on.ok("record", "--tool", "t", "--success", *tagged, "--parameters", '{"x": 1}')
    shell_on.ok("record", "--tool", "t", "--failure", "--error", "KeyError: x", "--tag", "tenant=b")
    (found,) = shell_on.ok("executions", *tagged, "--json").json
    assert (found["tags"], found["parameters"], found["success"]) == ({"tenant": "a", "shard": "3"}, {"x": 1}, True)
    (failed,) = shell_on.ok("executions", "--failed", "--tool", "t", "--json").json
    assert failed["tags"] == {"tenant": "b"}
    assert "tenant=b" in shell_on.ok("executions").out
    assert shell_on.ok("executions", "--by", "tenant", "--json").json == [
        {"value": "a", "total": 1, "failures": 0, "success_rate": 1.0},
        {"value": "b", "total": 1, "failures": 1, "success_rate": 0.0},
    ]
    assert "100" in shell_on.ok("executions", "--by", "tenant").out
    assert "no such call" in shell_on.ok("executions", "--tag", "tenant=c").out


@pytest.mark.parametrize("words", [("--tag", "tenant"), ("--tag", "=a"), ("--by", "tenant", "--failed")])
def test_wrong_words(shell: Shell, words: tuple[str, ...]) -> None:
    """A tag without a value, and options that exclude each other, exit with 2 and say which."""
    ran = shell.run("executions", *words)
    assert ran.exit_code == 2
    assert "--tag" in ran.err or "--by" in ran.err


def test_amend(shell_on: Shell) -> None:
    """`rollguard amend` makes a call a failure or scores it, and says whether that changed anything."""
    shell_on.ok("record", "--tool", "t", "--success", "--execution-id", "one")
    amended = ("amend", "one", "--failure", "--reason", "ValueError: wrong", "--score", "0.5")
    assert shell_on.ok(*amended, "--json").json == {"execution_id": "one", "changed": True}
    assert "nothing was changed" in shell_on.ok(*amended).out
    (found,) = shell_on.ok("executions", "--json").json
    assert (found["success"], found["error_type"], found["score"]) == (False, "ValueError", 0.5)
    assert shell_on.run("amend", "one").exit_code == 2
    assert shell_on.run("amend", "one", "--reason", "x", "--score", "1").exit_code == 2
    assert "no stored execution" in shell_on.run("amend", "two", "--score", "1").err
