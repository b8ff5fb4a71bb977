"""`rollguard backtest`: other settings on past deployments."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Shell


def _rolled_back(shell: Shell) -> None:
    shell.deploy(1)
    shell.calls(20, 0)
    shell.deploy(2)
    shell.calls(8, 4)
    shell.ok("watch", "--once")


def test_the_present_settings_agree_with_what_happened(shell_on: Shell) -> None:
    """Without options the settings as they are decide what was decided, and JSON tells the numbers."""
    _rolled_back(shell_on)
    told = shell_on.ok("backtest", "--json").json
    newest, first = told["deployments"]
    assert told["candidate"] == {}
    assert (newest["happened"], newest["compared"], newest["rollback_type"]) == ("rolled_back", "same", "threshold")
    assert newest["candidate"]["rollback_type"] == "threshold"
    assert newest["candidate"]["baseline"]["total_executions"] == 20
    assert newest["candidate"]["current"] == {"total_executions": 12, "successes": 8, "success_rate": 8 / 12}
    assert (first["happened"], first["compared"]) == ("superseded", "not_seen")
    assert told["summary"]["same"] == 1
    (risk,) = told["false_alarms"]
    assert risk["tool_name"] == "my_tool"
    assert risk["candidate"] == risk["present"]


def test_people_see_both_decisions_and_why(shell_on: Shell) -> None:
    """The table tells what happened beside what the candidate does, why, and how often it would be wrong."""
    _rolled_back(shell_on)
    shown = " ".join(shell_on.ok("backtest", "my_tool", "--min-executions", "5").out.split())
    for words in (
        "candidate: min_executions = 5",
        "rolled back after",
        "threshold after",
        "12 calls",
        "my_tool 2 of",
        "4 of 12 calls failed",
        "rolled back by both, at the same time 1",
        "not seen: ended before the candidate decided 1",
        "False alarms",
    ):
        assert words in shown
    stricter = shell_on.ok("backtest", "--threshold", "0.9", "--no-false-alarms").out
    assert "not seen within" in stricter
    assert "False alarms" not in stricter


def test_every_rule_can_be_set(shell: Shell) -> None:
    """What the options and --set say are the candidate's rules; the settings' own go on to hold for the rest."""
    shell.write("rollguard.toml", "[tools.my_tool]\nmin_executions = 7\n")
    _rolled_back(shell)
    words = (
        "--decision",
        "evidence",
        "--alpha",
        "0.01",
        "--delta",
        "0.1",
        "--threshold",
        "0.3",
        "--fast-triggers",
        "off",
    )
    more = ("--window-hours", "48", "--baseline-days", "14", "--set", 'caller_errors=["ValueError"]', "--limit", "1")
    (told,) = shell.ok("backtest", *words, *more, "--set", "mode=observe", "--json").json["deployments"]
    rules = told["candidate"]["rules"]
    assert (rules["decision"], rules["alpha"], rules["delta"], rules["regression_threshold"]) == (
        "evidence",
        0.01,
        0.1,
        0.3,
    )
    assert (rules["monitoring_window_hours"], rules["baseline_window_days"], rules["min_executions"]) == (48, 14, 7)
    assert (rules["caller_errors"], rules["mode"], rules["fast_triggers"]) == (["ValueError"], "observe", "off")


@pytest.mark.parametrize("more", [(), ("--no-false-alarms",)], ids=str)
def test_it_is_drawn(shell: Shell, more: tuple[str, ...]) -> None:
    """--plot writes a figure of that kind, whatever the tool's name holds, and says so beside the result."""
    _rolled_back(shell)
    lines = '{"tool_name": "odd $x^$ 工具", "success": true}\n' * 20
    shell.ok("record", "--file", "-", stdin=lines)
    ran = shell.ok("backtest", "--plot", "a.svg", *more)
    assert "drawn to a.svg" in ran.err
    assert ElementTree.parse(shell.folder / "a.svg").getroot().tag.endswith("svg")
    shell.ok("backtest", "--plot", "a.png", "--json", *more)
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_way_to_it_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where matplotlib is missing, --plot is refused with the command that installs it; all else works."""
    _rolled_back(shell)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = shell.run("backtest", "--plot", "a.png")
    assert (ran.exit_code, ran.out) == (1, "")
    assert "pip install 'rollguard[plot]'" in ran.err
    shell.ok("backtest")
