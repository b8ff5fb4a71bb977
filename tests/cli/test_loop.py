"""`rollguard loop`, `proposals`, `freeze` and `unfreeze`: what is printed, the exit codes, and who decides."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Shell
from tests.loop.improving import RIGHT
from tests.rehearse.running import in_process
from tests.rehearse.test_gate import OLD

SETTINGS = """
[tools.price.rehearse]
read_only = true

[loop]
improve = true

[loop.approval]
approvers = ["ann", "bob"]

[[improve.improvers]]
kind = "callable"
name = "scripted"
function = "own:propose"
"""
OWN = f"def propose(brief):\n    return {RIGHT!r}\n"


@pytest.fixture
def shop(empty: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with the weak tool `price`, an improver that knows the repair, and recorded calls."""
    monkeypatch.setattr("rollguard.rehearse.sandboxed.in_sandbox", lambda *_settings: in_process)
    empty.ok("init")
    settings = empty.folder / "rollguard.toml"
    settings.write_text(f"{settings.read_text()}\n{SETTINGS}")
    empty.write("own.py", OWN)
    empty.write("price.py", OLD)
    empty.ok("deploy", "price.py", "--no-watch")
    call = {"tool_name": "price", "version_number": 1}
    failed = {**call, "success": False, "error": "ValueError: x"}
    calls: list[dict[str, object]] = [
        *({**call, "success": True, "parameters": {"amount": str(10_000 + n)}} for n in range(20)),
        *({**failed, "parameters": {"amount": f"{n},{n + 300}"}} for n in range(1, 21)),
    ]
    lines = map(json.dumps, calls)
    empty.write("calls.jsonl", "\n".join(lines))
    empty.ok("record", "--file", "calls.jsonl")
    return empty


def test_a_proposal_from_its_finding_to_its_deployment(shop: Shell) -> None:
    """A dry run names the tool, a cycle proposes, people see and approve it, and the next cycle deploys it."""
    assert "improve it" in shop.ok("loop", "--dry-run").out
    assert "No proposal is open" in shop.ok("proposals").out
    ran = shop.ok("loop", "--once")
    assert "improvements attempted: 1" in ran.out
    listed = shop.ok("proposals").out
    assert "waiting" in listed
    assert "price" in listed
    shown = shop.run("proposals", "show", "1")
    assert shown.exit_code == 7
    fix = '+    amount = str(amount).replace(",", "")'
    for words in ("has a comma", "Proposed by scripted", "20 fixed", "History", fix):
        assert words in shown.out, shown.out
    patch = shop.run("proposals", "show", "1", "--patch").out
    assert patch.startswith("--- version 1\n+++ attempt 1")
    refused = shop.run("proposals", "approve", "1", "--reason", "mine", "--by", "joe")
    assert (refused.exit_code, "not one of the approvers" in refused.err) == (6, True)
    approved = shop.ok("proposals", "approve", "1", "--reason", "right", "--by", "ann", "--json").json
    assert (approved["state"], approved["author"]) == ("approved", "scripted")
    assert shop.ok("loop", "--once", "--json").json["statistics"]["improvements_deployed"] == 1
    assert shop.ok("versions", "price", "--json").json["versions"][0]["created_by"] == "scripted"
    assert shop.run("proposals", "show", "1", "--json").json["state"] == "watching"


def test_rejecting_and_what_is_wrong(shop: Shell) -> None:
    """A rejection needs a reason; afterwards there is nothing to decide, and each mistake says what to do."""
    shop.ok("loop", "--once")
    assert shop.run("proposals", "reject", "1").exit_code == 2
    assert shop.run("proposals", "show").exit_code == 2
    assert shop.run("proposals", "accept", "1").exit_code == 2
    unknown = shop.run("proposals", "show", "7")
    assert (unknown.exit_code, "rollguard proposals" in unknown.err) == (1, True)
    assert "is rejected" in shop.ok("proposals", "reject", "1", "--reason", "no", "--by", "bob").out
    assert shop.run("proposals", "show", "1").exit_code == 6
    assert shop.run("proposals", "approve", "1", "--reason", "yes", "--by", "ann").exit_code == 6
    assert "refused: rejected" in shop.ok("proposals", "--all").out


def test_a_frozen_tool_is_left_alone(shop: Shell) -> None:
    """Frozen by name or with all others, nothing begins; the list says who froze what."""
    assert "price is frozen" in shop.ok("freeze", "price", "--reason", "sale", "--by", "ann").out
    assert "frozen already" in shop.ok("freeze", "price", "--by", "ann").out
    unknown = shop.run("freeze", "prize", "--by", "ann")  # a stop by mistake would stop nothing
    assert (unknown.exit_code, "there is no tool prize" in unknown.err) == (1, True)
    assert "leave it alone: frozen" in shop.ok("loop", "--dry-run").out
    shop.ok("loop", "--once")
    assert "price is frozen by ann: sale" in shop.ok("proposals").out
    shop.ok("freeze", "--by", "ann")
    assert "Every tool is frozen" in shop.ok("unfreeze", "price", "--by", "ann").out
    assert shop.ok("unfreeze", "--by", "ann", "--json").json == {"changed": True, "frozen": []}
    shop.ok("loop", "--once")
    assert len(shop.ok("proposals", "--json").json["attempts"]) == 1


def test_it_has_to_be_switched_on(empty: Shell) -> None:
    """Without `improve = true` the command says so, and a dry run still works."""
    empty.ok("init")
    ran = empty.run("loop", "--once")
    assert (ran.exit_code, "loop.improve" in ran.err) == (1, True)
    assert "No tool is weak" in empty.ok("loop", "--dry-run").out
