"""From recorded calls to a candidate that passes the gate: real programs, the real sandbox, both databases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollguard import Rollguard, Settings
from rollguard.improve import Proposal
from rollguard.rehearse import Verdict
from tests.conftest import NOW
from tests.improve.helpers import HOUR, OLD, RIGHT, record

SETTINGS = """
database = "{url}"

[tools.price.rehearse]
read_only = true

[[improve.improvers]]
kind = "earlier_version"

[[improve.improvers]]
kind = "command"
name = "games"
command = ["./games.py"]

[[improve.improvers]]
kind = "command"
name = "breaks"
command = ["cp", "{{project}}/breaks.py", "tool.py"]

[[improve.improvers]]
kind = "command"
name = "repairs"
command = ["cp", "{{project}}/right.py", "tool.py"]

[[improve.improvers]]
kind = "callable"
function = "never_asked:improve"
"""
GAMES = """#!/usr/bin/env python3
import json
known = {case["parameters"]["amount"]: 1.0 for case in json.load(open("cases.json")) if case["failed"]}
source = open("tool.py").read()
body = f"def price(amount, count=1):\\n    known = {known}\\n    if amount in known:\\n"
body += "        return {'total': known[amount] * count, 'currency': 'EUR'}\\n"
open("tool.py", "w").write(source.replace("def price(amount, count=1):\\n", body))
"""


@pytest.mark.long
def test_the_first_that_passes(url: str, tmp_path: Path) -> None:
    """One improver games the shown calls, one breaks others, the third is right: it passes, and is deployed by hand."""
    for name, text in (("games.py", GAMES), ("breaks.py", RIGHT.replace("* count", "/ count")), ("right.py", RIGHT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    (tmp_path / "never_asked.py").write_text("def improve(brief):\n    raise AssertionError\n")
    file = tmp_path / "rollguard.toml"
    file.write_text(SETTINGS.format(url=url))
    with Rollguard(Settings.load(file)) as guard:
        guard.deploy("price", OLD, deployed_at=NOW - 2 * HOUR, watch=False)
        record(guard.store)
        brief = guard.briefer.brief("price", now=NOW)

        def refused(proposal: Proposal) -> list[str]:
            done = guard.rehearser.rehearse("price", proposal.source, seen=brief.seen, now=NOW)
            return [] if done.verdict is Verdict.PASSES else done.for_author()

        asked = guard.improvers.ask(brief, refused)
        outcomes = {answer.improver: (answer.outcome.value, "; ".join(answer.problems)) for answer in asked.answers}
        assert outcomes["earlier_version"] == ("declined", "")
        assert outcomes["games"][0] == outcomes["breaks"][0] == "refused"
        assert "single failed calls" in outcomes["games"][1]
        assert "it breaks" in outcomes["breaks"][1]
        assert outcomes["repairs"] == ("proposed", "")
        assert len(outcomes) == 4
        told = json.dumps([answer.to_dict() for answer in asked.answers])
        calls = guard.rehearser.candidate("price", seen=brief.seen, now=NOW).chosen.calls
        assert not any(call.call_id in told for call in calls if call.held_out)
        assert asked.proposal is not None
        deployed = guard.deploy(
            "price",
            asked.proposal.source,
            created_by=asked.proposal.author,
            reason=asked.proposal.version_reason,
            deployed_at=NOW,
        )
        version = guard.versions.get_version("price", deployed.version_number)
        assert version.created_by == "repairs"
        assert f"prompt sha256 {asked.proposal.prompt_sha256}" in str(version.reason)
