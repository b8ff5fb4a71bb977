"""`rollguard brief` and `rollguard improve`: what is printed and written, and the exit codes."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.conftest import Shell
from tests.improve.helpers import OLD, RIGHT
from tests.rehearse.running import in_process

SETTINGS = """
[tools.price.rehearse]
read_only = true
grants = ["PRICES_KEY"]

[[improve.improvers]]
kind = "earlier_version"

[[improve.improvers]]
kind = "command"
name = "coder"
command = ["cp", "{project}/right.py", "tool.py"]
"""


@pytest.fixture
def shop(empty: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with the tool `price`, which may be run, its recorded calls, and improvers."""
    monkeypatch.setattr("rollguard.rehearse.sandboxed.in_sandbox", lambda *_settings: in_process)
    empty.ok("init")
    settings = empty.folder / "rollguard.toml"
    settings.write_text(f"{settings.read_text()}\n{SETTINGS}")
    empty.write("price.py", OLD)
    empty.write("right.py", RIGHT)
    empty.ok("deploy", "price.py", "--no-watch")
    calls = [
        {
            "tool_name": "price",
            "success": number % 2 == 0,
            "parameters": {"amount": f"{number},{number}" if number % 2 else f"{number}0{number}"},
            **({"error": "ValueError: \x1b]0;owned\x07 could not convert"} if number % 2 else {}),
        }
        for number in range(100, 124)
    ]
    empty.ok("record", "--file", "-", stdin="\n".join(map(json.dumps, calls)))
    return empty


def test_a_brief(shop: Shell) -> None:
    """It is Markdown for people and JSON for programs, and a work folder for who edits by hand."""
    said = shop.ok("brief", "price").out
    assert said.startswith("# Repair the tool price")
    assert "$.amount has a comma" in said
    assert "\x1b" not in said
    made = shop.ok("brief", "price", "--json").json
    assert (made["source"], len(made["failing"])) == (OLD, 9)
    other = shop.ok("brief", "price", "--json", "--draw", 1).json
    assert {case["call_id"] for case in other["failing"]} != {case["call_id"] for case in made["failing"]}
    assert "./check" in shop.ok("brief", "price", "--into", "work").out
    assert (shop.folder / "work" / "tool.py").read_text() == OLD
    assert os.access(shop.folder / "work" / "check", os.X_OK)
    assert json.loads((shop.folder / "work" / "check.json").read_text())["rules"]["grants"] == []
    assert "work exists" in shop.run("brief", "price", "--into", "work").err
    assert shop.run("brief", "nothere").exit_code == 1


def test_a_candidate(shop: Shell) -> None:
    """The candidate is printed or written, with its author and why others had none; nothing is deployed."""
    assert shop.ok("improve", "price").out == RIGHT
    said = shop.ok("improve", "price", "--out", "candidate.py").out
    assert "earlier_version  declined" in said
    assert "coder            proposed" in said
    assert "rollguard rehearse price candidate.py" in said
    assert (shop.folder / "candidate.py").read_text() == RIGHT
    made = shop.ok("improve", "price", "--improver", "coder", "--json").json
    assert (made["proposal"]["author"], made["proposal"]["source"]) == ("coder", RIGHT)
    assert [answer["outcome"] for answer in made["answers"]] == ["proposed"]
    assert len(shop.ok("versions", "price", "--json").json["versions"]) == 1


def test_no_candidate(shop: Shell) -> None:
    """Without a proposal the exit code is 6; what failed is told, and what cannot be asked is named."""
    none = shop.run("improve", "price", "--improver", "earlier_version", "--out", "none.py")
    assert (none.exit_code, "No candidate for price" in none.out) == (6, True)
    assert not (shop.folder / "none.py").exists()
    (shop.folder / "right.py").unlink()
    failed = shop.run("improve", "price", "--json")
    assert failed.exit_code == 6
    assert failed.json["answers"][1]["problems"] == ["cp ended with exit code 1"]
    assert "right.py" in failed.json["answers"][1]["output"]
    assert "coder printed last: cp: " in shop.run("improve", "price").out
    assert "none named 'nobody'" in shop.run("improve", "price", "--improver", "nobody").err
    within = shop.run("improve", "price", "--out", "tools/price.py")
    assert (within.exit_code, "where it would go live" in within.err) == (2, True)
    shop.write("no.toml", "[sandbox]\n")
    assert "improve.improvers: there is none" in shop.run("improve", "price", "--config", "no.toml").err
