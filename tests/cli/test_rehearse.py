"""`rollguard rehearse` and `rollguard deploy --rehearse`: the exit codes and what is printed."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell
from tests.rehearse.running import in_process
from tests.rehearse.test_gate import OLD, RIGHT

SETTINGS = "[tools.price.rehearse]\nread_only = true\n"


@pytest.fixture
def shop(empty: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with the tool `price`, which may be run, and its recorded calls."""
    monkeypatch.setattr("rollguard.rehearse.sandboxed.in_sandbox", lambda *_settings: in_process)
    empty.ok("init")
    settings = empty.folder / "rollguard.toml"
    settings.write_text(f"{settings.read_text()}\n{SETTINGS}")
    empty.write("price.py", OLD)
    empty.write("right.py", RIGHT)
    empty.write("broken.py", RIGHT.replace("* count", "/ (count - count)"))
    empty.write("changed.py", RIGHT.replace("* count", "* count + 1"))
    empty.ok("deploy", "price.py", "--no-watch")
    for n in range(12):
        empty.ok("call", "--record", "price", f'amount="{n}"')
    for n in range(1, 7):
        empty.run("call", "--record", "price", f'amount="{n},{n + 300}"')
    return empty


def test_the_exit_code_is_the_verdict(shop: Shell) -> None:
    """0 passes, 6 is refused and 7 is left to a person; JSON has the verdict with its counts and reasons."""
    ran = shop.run("rehearse", "price", "right.py", "--json")
    assert ran.exit_code == 0, ran.out
    passed = ran.json
    assert (passed["verdict"], passed["strategy"], passed["reasons"]) == ("passes", "shadow", [])
    assert [passed[kind] for kind in ("fixed", "broken", "same", "changed")] == [6, 0, 12, 0]
    refused = shop.run("rehearse", "price", "broken.py")
    assert refused.exit_code == 6
    assert "is refused" in refused.out
    assert "broken: call" in refused.out
    assert "ZeroDivisionError" in refused.out
    asked = shop.run("rehearse", "price", "changed.py")
    assert asked.exit_code == 7
    assert "  live        returned" in asked.out
    assert "  candidate   returned" in asked.out


def test_deploy_rehearse(shop: Shell) -> None:
    """A deployment that is rehearsed ends with the same exit codes, and is live only if it passes."""
    refused = shop.run("deploy", "broken.py", "--tool", "price", "--rehearse")
    assert (refused.exit_code, "its rehearsal refuses it" in refused.err) == (6, True)
    assert shop.run("deploy", "changed.py", "--tool", "price", "--rehearse").exit_code == 7
    assert "Version 2 of price is live" in shop.ok("deploy", "right.py", "--tool", "price", "--rehearse").out
