"""`rollguard deploy`, `call` and `tools`."""

from __future__ import annotations

import json
import sys

import pytest

from tests.cli.conftest import Shell
from tests.conftest import code

FAILS = """
def fails(kind="raise"):
    if kind == "exit":
        raise SystemExit(7)
    raise KeyError("id\\x1b[31m")
"""
ANYTHING = """
import datetime, subprocess, sys

print("imported")

def anything(what="set"):
    print("called")
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    when = datetime.datetime(2026, 3, 1)
    return {"set": {3}, "nan": float("nan"), "when": when, "text": "Zürich \\ud800", (1, 2): b"x"}
"""


def test_deploy_takes_the_name_from_the_file(shell: Shell) -> None:
    """The tool is the file's stem, and the answer names version and session."""
    said = shell.ok("deploy", shell.write("elsewhere/my_tool.py", code(1)))
    assert said.out == "Version 1 of my_tool is live. Session 1 watches it.\n"


def test_tools_import_modules_of_the_project(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool may import what lies beside rollguard.toml, wherever the command is started; installed modules win."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])  # as in the command's own process
    shell.write("project_prices.py", "PRICE = 1.5\n")
    shell.write("sqlalchemy.py", "raise SystemExit(1)\n")
    shell.write("inside/anything", "")
    monkeypatch.chdir(shell.folder / "inside")
    importing = "import sqlalchemy.orm\nfrom project_prices import PRICE\n\ndef price() -> float:\n    return PRICE\n"
    shell.ok("deploy", "-", "--tool", "price", stdin=importing)
    assert shell.ok("call", "price").out == "1.5\n"
    assert str(shell.folder) not in sys.path


def test_code_that_is_live_is_not_deployed_again(shell: Shell) -> None:
    """The same code again changes nothing, and the answer says so."""
    shell.deploy(1)
    assert not shell.deploy(1)["changed"]
    assert "live already" in shell.ok("deploy", "-", "--tool", "my_tool", stdin=code(1)).out
    assert not shell.deploy(1, "--no-watch")["changed"]


def test_no_watch_starts_no_session(shell: Shell) -> None:
    """--no-watch makes the version live and leaves it unwatched."""
    assert shell.deploy(1, "--no-watch")["session_id"] is None
    assert shell.ok("sessions", "--json").json == []
    assert "Nothing watches it" in shell.ok("deploy", "-", "--tool", "my_tool", "--no-watch", stdin=code(2)).out


def test_deployment_keeps_who_why_and_what_kind(shell: Shell) -> None:
    """--by, --reason and --kind are in the history."""
    shell.deploy(1, "--by", "ada", "--reason", "why not", "--kind", "bugfix")
    (version,) = shell.ok("history", "my_tool", "--json").json["versions"]
    assert (version["created_by"], version["reason"], version["kind"]) == ("ada", "why not", "bugfix")


def test_values_are_json_if_they_parse(shell: Shell) -> None:
    """`k=v` gives numbers, lists and null as such, and anything else as text; it goes over --params."""
    shell.ok("deploy", "-", "--tool", "echo", stdin="def echo(**given):\n    return given\n")
    words = ["a=1", "b=[1, 2]", "c=null", "d=hello", 'e="1"', "f=x=y", "g=NaN", "h="]
    ran = shell.ok("call", "echo", *words, "--params", '{"a": 0, "z": true}')
    assert ran.json == {
        "a": 1, "z": True, "b": [1, 2], "c": None, "d": "hello", "e": "1", "f": "x=y", "g": "NaN", "h": "",
    }  # fmt: skip


def test_tool_that_raises_exits_4_and_is_recorded(shell: Shell) -> None:
    """A failing tool gives exit code 4, its error on stderr without control characters, and a failed execution."""
    shell.ok("deploy", "-", "--tool", "fails", stdin=FAILS)
    ran = shell.run("call", "fails")
    assert (ran.exit_code, ran.out) == (4, "")
    assert "fails failed: KeyError: " in ran.err
    assert "\x1b" not in ran.err
    told = shell.run("call", "fails", "kind=exit", "--json")
    assert told.exit_code == 4
    assert (told.json["success"], told.json["error_type"], told.json["error"]) == (False, "SystemExit", "7")
    report = shell.ok("health", "fails", "--json").json
    assert (report["current"]["total_executions"], report["current"]["successes"]) == (2, 0)


def test_a_request_that_is_tried_again_counts_once(shell: Shell) -> None:
    """--request names what calls are made for: together they are one execution; what is no id is refused."""
    shell.ok("deploy", "-", "--tool", "fails", stdin=FAILS)
    shell.run("call", "fails", "--request", "r-1")
    shell.run("call", "fails", "kind=exit", "--request", "r-1")
    assert shell.ok("health", "fails", "--json").json["current"]["total_executions"] == 1
    refused = shell.run("call", "fails", "--request", "")
    assert (refused.exit_code, "request_id: '' is not an id" in refused.err) == (1, True)


def test_returned_failure_exits_4_and_prints_the_result(shell: Shell) -> None:
    """A result that the settings call a failure is printed, and the exit code is 4."""
    shell.write("rollguard.toml", '[tools.soft.failure]\nkeys = ["error"]\n')
    shell.ok("deploy", "-", "--tool", "soft", stdin='def soft():\n    return {"error": "no such city"}\n')
    ran = shell.run("call", "soft")
    assert (ran.exit_code, ran.json) == (4, {"error": "no such city"})
    assert "soft failed" in ran.err


def test_any_result_is_printed_as_json_and_nothing_else(shell: Shell) -> None:
    """Values that JSON does not know, and what tools and their children print, never spoil stdout."""
    shell.ok("deploy", "-", "--tool", "anything", stdin=ANYTHING)
    assert shell.ok("call", "anything").json
    process = shell.start("call", "anything", "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["success"]
    for words in ("imported", "called", "child"):
        assert words in err
        assert words not in out


def test_tools_lists_versions_descriptions_and_problems(shell: Shell) -> None:
    """`tools` shows what is live and what each does, and says what is wrong with files that cannot be used."""
    shell.deploy(1)
    shell.deploy(1, tool="gone")
    (shell.folder / "tools/gone.py").unlink()
    shell.write("tools/broken.py", "def broken(:\n")
    shell.write("tools/my_tool.py", code(7))
    found = {tool["name"]: tool for tool in shell.ok("tools", "--json").json}
    assert found["calculate"]["description"] == "Work out an arithmetic expression."
    assert found["calculate"]["problem"] is None
    assert "SyntaxError" in found["broken"]["problem"]
    assert "edited by hand" in found["my_tool"]["problem"]
    assert "gone" in found["gone"]["problem"]
    shown = shell.ok("tools").out
    assert "Problems" in shown
    assert "broken: " in shown


def test_broken_neighbour_does_not_trouble_other_commands(shell: Shell) -> None:
    """A file that cannot be loaded is no concern of commands about other tools."""
    shell.write("tools/broken.py", "def broken(:\n")
    ran = shell.ok("call", "calculate", "expression=1+1")
    assert (ran.json, ran.err) == (2, "")
    assert shell.run("call", "broken").exit_code == 4
