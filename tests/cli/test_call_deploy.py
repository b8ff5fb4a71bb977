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


def test_tool_that_raises_exits_4_and_is_recorded_if_asked(shell: Shell) -> None:
    """A failing tool gives exit code 4, its error on stderr without control characters, and counts with --record."""
    shell.ok("deploy", "-", "--tool", "fails", stdin=FAILS)
    ran = shell.run("call", "fails", "--record")
    assert (ran.exit_code, ran.out) == (4, "")
    assert "fails failed: KeyError: " in ran.err
    assert "\x1b" not in ran.err
    told = shell.run("call", "fails", "kind=exit", "--json", "--record")
    assert (told.exit_code, told.json["recorded"]) == (4, True)
    assert (told.json["success"], told.json["error_type"], told.json["error"]) == (False, "SystemExit", "7")
    report = shell.ok("health", "fails", "--json").json
    assert (report["current"]["total_executions"], report["current"]["successes"]) == (2, 0)


TYPED = """
import asyncio, enum
from datetime import date

class Colour(enum.Enum):
    RED = "red"

async def typed(text: str, day: date | None = None, n: int = 0, colour: Colour = Colour.RED, words: list[str] = []):
    await asyncio.sleep(0)
    return [text, type(day).__name__, n, colour.name, words]
"""


def test_arguments_are_converted_to_the_declared_types(shell: Shell) -> None:
    """A text stays the text that was typed, and any other value becomes what the tool declares."""
    shell.ok("deploy", "-", "--tool", "typed", stdin=TYPED)
    for record in ([], ["--record"]):
        ran = shell.ok("call", "typed", "text=17", "day=2026-03-01", "n=5", "colour=red", 'words=["a"]', *record)
        assert ran.json == ["17", "date", 5, "RED", ["a"]]
    assert shell.ok("call", "typed", "text=null", "day=null").json == ["null", "NoneType", 0, "RED", []]
    assert shell.ok("call", "typed", "--params", '{"text": "x", "n": 2}').json == ["x", "NoneType", 2, "RED", []]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "typed needs text; it takes text, day, n, colour, words"),
        (["txt=b", "n=2"], "typed needs text and has no txt; it takes text, day, n, colour, words"),
        (["text=a", "n=many"], "typed: n: Input should be a valid integer"),
        (["text=a", "colour=blue"], "typed: colour: Input should be 'red'"),
        (["text=a", "txt=b"], "typed: txt: Unexpected keyword argument; it takes text, day"),
        (["--params", '{"text": 5}'], "typed: text: Input should be a valid string"),
    ],
)
def test_wrong_arguments_are_no_call(shell: Shell, words: list[str], says: str) -> None:
    """Arguments that the tool does not take exit with 2, say what it takes, and count nowhere, also with --record."""
    shell.ok("deploy", "-", "--tool", "typed", stdin=TYPED)
    ran = shell.run("call", "typed", "--record", *words)
    assert (ran.exit_code, ran.out) == (2, "")
    assert says in " ".join(ran.err.replace("│", "").split())
    assert shell.ok("health", "typed", "--json").json["current"]["total_executions"] == 0


def test_a_try_counts_nowhere(shell: Shell) -> None:
    """A call from the command line is no call of production, whatever comes of it, also if it records itself."""
    store = 'ExecutionStore("sqlite:///rollguard.db")'
    recording = f"from rollguard import *\n\n@tool(store={store})\ndef my_tool(x: int):\n    return 1 / x\n"
    shell.ok("deploy", "-", "--tool", "my_tool", stdin=recording)
    assert shell.ok("call", "my_tool", "x=1", "--json").json["recorded"] is False
    assert shell.run("call", "my_tool", "x=0").exit_code == 4
    assert shell.ok("health", "my_tool", "--json").json["current"]["total_executions"] == 0


def test_a_request_that_is_tried_again_counts_once(shell: Shell) -> None:
    """--request names what calls are made for: together they are one execution; what is no id is refused."""
    shell.ok("deploy", "-", "--tool", "fails", stdin=FAILS)
    shell.run("call", "fails", "--record", "--request", "r-1")
    shell.run("call", "fails", "kind=exit", "--record", "--request", "r-1")
    assert shell.ok("health", "fails", "--json").json["current"]["total_executions"] == 1
    refused = shell.run("call", "fails", "--record", "--request", "")
    assert (refused.exit_code, "request_id: '' is not an id" in refused.err) == (1, True)
    refused = shell.run("call", "fails", "--request", "r-1")
    assert (refused.exit_code, "give --record too" in refused.err) == (2, True)


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


def test_what_does_not_load_is_shown(shell: Shell) -> None:
    """A file that a command found not to load is a problem in `tools` and `doctor` from then on; neither runs it."""
    shell.write("tools/needy.py", "import no_such_module\ndef needy(): ...\n")
    assert shell.run("deploy", "tools/needy.py").exit_code == 1
    found = {tool["name"]: tool for tool in shell.ok("tools", "--json").json}
    assert "No module named 'no_such_module'" in found["needy"]["problem"]
    assert "needy.py does not load on this machine" in shell.run("doctor").out


def test_every_file_of_the_folder_is_told_apart(shell: Shell) -> None:
    """`tools`, `init` and `doctor` say what each file is and is not, and none of them runs it."""
    shell.write("tools/helper.py", "X = 1\n")
    shell.write("tools/made.py", "from nowhere import make\nmade = make()\nraise SystemExit\n")
    shell.write("tools/broken.py", "def broken(:\n")
    shell.write("tools/_own.py", "def _own(): ...\n")
    shell.write("tools/notes.txt", "notes")
    shell.write("tools/below/below.py", "def below(): ...\n")
    found = {tool["file"]: tool["is"] for tool in shell.ok("tools", "--json").json}
    assert found == {
        "calculate.py": "tool", "helper.py": "no tool", "made.py": "unknown", "broken.py": "broken",
        "_own.py": "ignored", "notes.txt": "ignored", "below": "ignored",
    }  # fmt: skip
    no_tools = shell.ok("tools").out.partition("No tools, and never run")[2]
    assert all(name in no_tools for name in ("helper.py: no tool in it", "_own.py: its name", "notes.txt", "below"))
    assert "made.py: may hold a tool" in shell.ok("init").out
    findings = {finding["says"] for finding in shell.ok("doctor", "--json").json}
    assert any("no tools, and never run: helper.py, _own.py" in says for says in findings)
    assert any(says.startswith("broken.py is not served, and never was: cannot be loaded") for says in findings)
    assert any(says.startswith("made.py is not served: may hold a tool") for says in findings)


def test_a_section_for_no_tool_is_found(shell: Shell) -> None:
    """A misspelled name in `[tools.NAME]` is named by `doctor` and `tools`, with the tool that is probably meant."""
    shell.write(
        "rollguard.toml", "[tools.calcualte]\nregression_threshold = 0.1\n[tools.recorded]\nmin_executions = 5\n"
    )
    shell.ok("record", "--tool", "recorded", "--success")
    says = "[tools.calcualte] names no tool that is in the folder, live or recorded; did you mean [tools.calculate]?"
    assert says in " ".join(shell.ok("tools").out.split())
    assert says in {finding["says"] for finding in shell.ok("doctor", "--json").json}
    assert "[tools.recorded]" not in shell.ok("tools").out


def test_broken_neighbour_does_not_trouble_other_commands(shell: Shell) -> None:
    """A file that cannot be loaded is no concern of commands about other tools."""
    shell.write("tools/broken.py", "def broken(:\n")
    ran = shell.ok("call", "calculate", "expression=1+1")
    assert (ran.json, ran.err) == (2, "")
    assert shell.run("call", "broken").exit_code == 1
