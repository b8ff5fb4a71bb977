"""`versions`, `show`, `diff` and `deploy --strict`: every version, what is in it, and what changed."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell
from tests.conftest import code

LESS = "def my_tool():\n    return '\x1b[31m\t€'\n"


@pytest.fixture
def told(shell: Shell) -> Shell:
    """A tool with three versions: one restored, one rolled back, one that breaks callers and was rolled back."""
    shell.deploy(1, "--by", "ada", "--reason", "the first")
    shell.calls(9, 1)
    shell.deploy(2)
    shell.ok("deploy", "-", "--tool", "my_tool", stdin=LESS)
    shell.calls(1, 3)
    shell.ok("rollback", "my_tool", "--to", "1", "--reason", "it is worse", "--yes")
    return shell


def test_versions(told: Shell) -> None:
    """Every version with its state and how it did, newest first, as a table and as JSON."""
    lines = told.ok("versions", "my_tool").out.splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["3", "2", "1"]
    assert "rolled_back" in lines[3]
    assert "25 %" in lines[3]
    assert "replaced" in lines[4]
    assert "live" in lines[5]
    assert "90 %" in lines[5]
    shown = told.ok("versions", "my_tool", "--json").json
    assert [v["version_number"] for v in shown["versions"]] == [3, 2, 1]
    first = shown["versions"][-1]
    assert (first["created_by"], first["reason"], first["times_deployed"], first["times_restored"]) == (
        *("ada", "the first"),
        *(2, 1),
    )
    assert (first["executions"], first["success_rate"], "code" in first) == (10, 0.9, False)
    assert shown["versions"][0]["rolled_back_reason"] == "it is worse"


def test_versions_fit_a_narrow_terminal(told: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is no wider than 80 characters, and nothing of it is cut."""
    for name, value in (("COLUMNS", "80"), ("FORCE_COLOR", "1"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    out = told.ok("versions", "my_tool").out
    assert "improvement" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_show(told: Shell) -> None:
    """A version's facts and its code; nothing in the code steers the terminal."""
    out = told.ok("show", "my_tool", 1).out
    assert out.startswith("my_tool, version 1\n")
    for words in ("by ada", "the first", "2 times, 1 by a rollback", "10 calls, 90 % succeeded", code(1)):
        assert words in out
    assert "\x1b" not in told.ok("show", "my_tool", 3).out
    shown = told.ok("show", "my_tool", 3, "--json").json
    assert (shown["code"], shown["kind"], shown["was_rolled_back"]) == (LESS, "improvement", True)


def test_show_code_is_the_file(told: Shell) -> None:
    """`--code` prints the bytes of the file, so that they can be deployed again as they are."""
    content = b"# coding: latin-1\r\ndef my_tool():\r\n    return '\xe9'"
    (told.folder / "latin.py").write_bytes(content)
    told.ok("deploy", "latin.py", "--tool", "my_tool")
    with (told.folder / "out").open("wb") as out:
        assert told.start("show", "my_tool", 4, "--code", stdout=out).wait(timeout=300) == 0
    assert (told.folder / "out").read_bytes() == content
    assert told.run("show", "my_tool", 4, "--code", "--json").exit_code == 2


def test_diff(told: Shell) -> None:
    """The diff, what breaks callers, and how each did; the lines are whole however narrow the output is."""
    out = told.ok("diff", "my_tool", 1, 3).out
    assert out.startswith("--- my_tool, version 1\n+++ my_tool, version 3\n@@ -1,2 +1,2 @@\n-def my_tool(x: int = 0)")
    assert "+    return '\\x1b[31m\t€'\n" in out
    assert "2 lines added, 2 removed." in out
    assert "This breaks callers:\n  • my_tool: parameter x is gone" in out
    assert "−65 pts" in out
    shown = told.ok("diff", "my_tool", 1, 3, "--json").json
    assert (shown["breaking"], shown["lines_added"], shown["lines_removed"]) == (True, 2, 2)
    assert [(c["kind"], c["parameter"], c["breaking"]) for c in shown["changes"]] == [("parameter_removed", "x", True)]
    assert (shown["before"]["executions"], shown["after"]["executions"]) == (10, 4)
    assert shown["success_rate_change"] == pytest.approx(-0.65)
    assert "the same code" in told.ok("diff", "my_tool", 1, 1).out
    assert "Callers notice nothing" in told.ok("diff", "my_tool", 1, 2).out


def test_diff_is_coloured_at_a_terminal(told: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal the lines that were added are green and those removed red; elsewhere there are no colours."""
    assert "\x1b" not in told.ok("diff", "my_tool", 1, 2).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = told.ok("diff", "my_tool", 1, 2).out
    assert "\x1b[32m+    return x + 2" in out
    assert "\x1b[31m-    return x + 1" in out


def test_deploy_tells_what_breaks_callers(shell: Shell) -> None:
    """`deploy` lists what breaks callers, once, and `--json` has every change."""
    shell.deploy(1)
    ran = shell.ok("deploy", "-", "--tool", "my_tool", stdin=LESS)
    assert "This breaks callers:\n  • my_tool: parameter x is gone: a call that gives it fails\n" in ran.out
    assert "breaks" not in ran.err
    shown = shell.deploy(2)
    assert [(c["kind"], c["breaking"]) for c in shown["changes"]] == [("parameter_added", False)]


def test_deploy_strict(shell: Shell) -> None:
    """`deploy --strict` refuses what breaks callers with exit code 5, and what was live stays so."""
    shell.deploy(1)
    ran = shell.run("deploy", "-", "--tool", "my_tool", "--strict", stdin=LESS)
    assert (ran.exit_code, ran.out) == (5, "")
    assert "it would break callers: my_tool: parameter x is gone" in ran.err
    assert shell.ok("call", "my_tool", "x=1").out == "2\n"
    assert len(shell.ok("versions", "my_tool", "--json").json["versions"]) == 1
    assert shell.deploy(2, "--strict")["version_number"] == 2


def test_rollback_to_a_version_that_was_never_live(shell: Shell) -> None:
    """`rollback --to` brings back any version, also a hand edit that was only kept."""
    shell.deploy(1)
    shell.write("tools/my_tool.py", code(7))
    shell.deploy(2)
    assert [v["kind"] for v in shell.ok("versions", "my_tool", "--json").json["versions"]][1] == "edit"
    shell.ok("rollback", "my_tool", "--to", 2, "--reason", "it was good", "--yes")
    assert shell.ok("call", "my_tool", "x=0").out == "7\n"
    kinds = [d["kind"] for d in shell.ok("history", "my_tool", "--json").json["deployments"]]
    assert kinds == ["rollback", "deployment", "deployment"]
