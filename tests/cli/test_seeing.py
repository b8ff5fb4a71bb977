"""What people see: one view of a tool, its calls, the last day, tables that fit, and plans that change nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from rollguard.cli.inputs import since_given
from rollguard.cli.table import Screen, Table, width_of
from rollguard.model.formatting import counted, everyday
from tests.cli.conftest import Shell
from tests.cli.test_reading import everything
from tests.conftest import code

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


def _rolled_back(shell: Shell) -> None:
    shell.deploy(1)
    shell.calls(20, 0)
    shell.deploy(2, "--reason", "faster")
    shell.ok("record", "--tool", "my_tool", "--failure", "--error", "KeyError: city")
    shell.calls(5, 7)
    shell.ok("watch", "--once")


def test_one_view_of_a_tool(shell_on: Shell) -> None:
    """`show TOOL` says what is live, and shows its session, the last checks, the last rollback and new errors."""
    _rolled_back(shell_on)
    seen = shell_on.ok("show", "my_tool").out
    for words in (
        "version 1 is live, restored by",
        "Session 2 of version 2: rolled_back",
        "regressed",
        "Last rollback: 2 → 1",
    ):
        assert words in seen
    assert "KeyError: city" in seen.partition("New errors of version 2")[2]
    found = shell_on.ok("show", "my_tool", "--json").json
    assert (found["live"]["version_number"], found["session"]["session_id"], found["rollback"]["to_version"]) == (
        1,
        2,
        1,
    )
    assert [check["verdict"] for check in found["checks"]] == ["regressed"]
    assert shell_on.ok("show", "my_tool", "--code").out == code(1)


def test_which_calls_failed(shell_on: Shell) -> None:
    """`calls TOOL` lists its calls with the text of the error; `--failed`, `--since` and `--version` filter them."""
    _rolled_back(shell_on)
    old = (datetime.now(UTC) - timedelta(hours=50)).isoformat()
    shell_on.ok("record", "--tool", "my_tool", "--failure", "--error", "OldError: x", "--executed-at", old)
    failed = shell_on.ok("calls", "my_tool", "--failed", "--since", "2d", "--limit", "100", "--json").json
    assert (len(failed), any(call["success"] for call in failed)) == (8, False)
    assert len(shell_on.ok("calls", "my_tool", "--version", "2", "--limit", "100", "--json").json) == 13
    shown = shell_on.ok("calls", "my_tool", "--failed").out
    assert "KeyError: city" in shown
    assert "OldError: x" in shown
    assert "no such call" in shell_on.ok("calls", "nope").out


def test_status_keeps_the_last_day_in_sight(shell_on: Shell) -> None:
    """`status` shows the last day's rollbacks, and files whose code is not what is recorded."""
    _rolled_back(shell_on)
    shell_on.write("tools/my_tool.py", code(2))
    seen = shell_on.ok("status").out
    assert "2 → 1" in seen
    assert "its file holds code that is in quarantine" in seen.partition("Held back")[2]
    found = shell_on.ok("status", "--json").json
    assert [rollback["state"] for rollback in found["rollbacks"]] == ["finished"]
    assert len(found["held_back"]) == 1


@pytest.mark.parametrize("place", ["nothing", "a folder"])
def test_status_names_a_file_that_is_not_there(shell: Shell, place: str) -> None:
    """A live tool without its file, or with something else in its place, is held back, and nothing waits for it."""
    shell.deploy(1)
    file = shell.folder / "tools" / "my_tool.py"
    file.unlink()
    if place == "a folder":
        file.mkdir()
    (says,) = shell.ok("status", "--json").json["held_back"]
    assert ("its file is gone" if place == "nothing" else "is not a file") in says


def test_a_tools_name_is_enough(shell_on: Shell) -> None:
    """`explain`, `cancel` and `diff` find the session and the versions by the tool."""
    _rolled_back(shell_on)
    assert shell_on.ok("explain", "my_tool", "--json").json == shell_on.ok("explain", "2", "--json").json
    assert shell_on.ok("explain", "--json").json["session"]["session_id"] == 2
    newest = shell_on.ok("diff", "my_tool", "--json").json
    assert (newest["before"]["version_number"], newest["after"]["version_number"]) == (1, 2)
    against_live = shell_on.ok("diff", "my_tool", "2", "--json").json
    assert (against_live["before"]["version_number"], against_live["after"]["version_number"]) == (2, 1)
    shell_on.deploy(3)
    assert shell_on.ok("cancel", "my_tool", "--reason", "x", "--json").json["status"] == "cancelled"


def test_no_reason_and_no_event_twice(shell: Shell) -> None:
    """`explain` says each reason and each event once, and the figures of the evidence with `--details` only."""
    _rolled_back(shell)
    found = shell.ok("explain", "my_tool", "--json").json
    assert not [a for a in found["why"] for b in found["why"] if a is not b and a in b]
    assert [entry["what"].split(":")[0] for entry in found["timeline"]].count("rollback finished") == 1
    assert not [entry for entry in found["timeline"] if "session ended" in entry["what"]]
    for command in ("explain", "health"):
        assert "evidence " not in shell.run(command, "my_tool").out
        assert "evidence " in shell.run(command, "my_tool", "--details").out


def test_a_plan_changes_nothing(shell_on: Shell, url: str) -> None:
    """`--dry-run` says what would be done, is refused where the command would be, and changes nothing."""
    shell_on.deploy(1)
    shell_on.deploy(2)
    shell_on.ok("rollback", "my_tool", "--reason", "x", "--quarantine")
    shell_on.deploy(3)
    before = everything(url, shell_on.folder / "tools")
    plan = ("--reason", "x", "--dry-run")
    assert shell_on.ok("rollback", "my_tool", *plan, "--json").json["to_version"] == 1
    assert (
        "Version 1 of my_tool would be live again, in place of version 3"
        in shell_on.ok("rollback", "my_tool", *plan).out
    )
    assert "quarantine" in shell_on.run("rollback", "my_tool", "--to", "2", *plan).err
    assert shell_on.run("rollback", "nope", *plan).exit_code == 1
    assert "would be cancelled" in shell_on.ok("cancel", "my_tool", *plan).out
    assert "could be deployed again" in shell_on.ok("quarantine", "--lift", "my_tool", "2", "--dry-run").out
    assert shell_on.run("quarantine", "--lift", "my_tool", "1", "--dry-run").exit_code == 1
    deploy = ("deploy", "-", "--tool", "my_tool", "--dry-run")
    assert "Version 4 of my_tool would be live" in shell_on.ok(*deploy, stdin=code(4)).out
    assert "live already, as version 3" in shell_on.ok(*deploy, stdin=code(3)).out
    assert shell_on.run(*deploy, stdin=code(2)).exit_code == 1
    assert shell_on.run(*deploy, stdin="x = 1\n").exit_code == 1
    assert shell_on.run(*deploy, "--strict", stdin="def my_tool(y): 0").exit_code == 5
    assert everything(url, shell_on.folder / "tools") == before


def test_a_recorded_call_is_tagged(shell: Shell) -> None:
    """`call --record --tag` tags the call; `--tag` alone exits with 2."""
    shell.ok("call", "calculate", "expression=1+1", "--record", "--tag", "tenant=a")
    (found,) = shell.ok("calls", "--tag", "tenant=a", "--json").json
    assert found["tool_name"] == "calculate"
    assert shell.run("call", "calculate", "expression=1+1", "--tag", "tenant=a").exit_code == 2


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("2d", 48.0),
        ("36h", 36.0),
        ("90min", 1.5),
        ("90m", 1.5),
        ("1w", 168.0),
        ("0.5 d", 12.0),
        ("2026-03-10T12:00:00Z", 0.5),
    ],
)
def test_since(text: str, ago: float) -> None:
    """`--since` takes an age in weeks, days, hours, minutes or seconds, and a time in ISO 8601."""
    assert since_given(text, NOW) == NOW - timedelta(hours=ago)


def test_since_a_day() -> None:
    """`yesterday` and `today` begin at local midnight."""
    today, yesterday = since_given("today", NOW), since_given("yesterday", NOW)
    assert (today.hour, today.minute, yesterday.date()) == (0, 0, today.date() - timedelta(days=1))
    assert today.date() == NOW.astimezone().date()


@pytest.mark.parametrize("text", ["soon", "d", "-d", "-5d", "2 fortnights", "nan d", ""])
def test_since_that_is_none(text: str) -> None:
    """Anything else is refused with what is understood."""
    with pytest.raises(typer.BadParameter, match="--since"):
        since_given(text, NOW)


WIDE = Table(
    ("Name", "Number>", "Reason~"), [("a_rather_long_name_of_a_tool", 5, "one " * 60), ("工具", None, "short")]
)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_table_fits_the_terminal_and_says_what_it_cuts(width: int) -> None:
    """No line is wider than the terminal, whatever it holds, and text that is cut ends with a sign."""
    lines = list(WIDE.lines(Screen(width)))
    assert max(map(width_of, lines)) <= width
    assert any("…" in line for line in lines) == (width == 40)


def test_a_table_that_nearly_fits_is_whole() -> None:
    """Where one space between the columns is enough, nothing is cut."""
    (_header, _line, row) = Table(("A", "B", "C"), [("a" * 10, "b" * 10, "c" * 10)]).lines(Screen(32))
    assert row == " ".join((letter * 10) for letter in "abc")


def test_a_table_in_a_pipe_is_whole() -> None:
    """In a file or a pipe each row is one line, and nothing is cut."""
    lines = list(WIDE.lines(Screen(None)))
    assert len(lines) == 2 + len(WIDE.rows)
    assert "one " * 59 in lines[2]


def test_output_at_a_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal every line of a long table fits its width; colours are left out on request."""
    _rolled_back(shell)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert "\x1b[31mrolled_back" in shell.ok("sessions").out
    monkeypatch.setenv("NO_COLOR", "1")
    for command in (
        ("status",),
        ("rollbacks",),
        ("sessions",),
        ("versions", "my_tool"),
        ("show", "my_tool"),
        ("calls",),
    ):
        assert max(map(width_of, shell.ok(*command).out.splitlines())) <= 80, command


def test_words_in_the_right_form() -> None:
    """One is singular, and figures of the evidence are left out of everyday reasons."""
    assert [counted(1, "line"), counted(0, "line"), counted(2_000, "line")] == ["1 line", "0 lines", "2,000 lines"]
    reasons = [
        "a: drop 1 point",
        "evidence 3.6 < 20",
        "slower: 9 of 10 calls above 5 ms, evidence 0.5 < 20",
        "a: drop 1 point",
    ]
    assert everyday(reasons) == ["a: drop 1 point", "slower: 9 of 10 calls above 5 ms"]
