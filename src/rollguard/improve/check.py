"""Check a work folder's `tool.py` as the gate will, with the calls that its author may see."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rollguard.errors import SandboxUnavailable
from rollguard.improve.brief import Brief, Case
from rollguard.improve.work_folder import TOOL, CheckRules
from rollguard.model.text import printable
from rollguard.rehearse import Call, Candidate, Chosen, PairKind, Rehearsal, Run, Verdict, rehearse
from rollguard.rehearse.calls import NO_RESULT
from rollguard.rehearse.sandboxed import in_sandbox

GOOD, BAD, NOT_RUN = 0, 1, 2
_MOST_SHOWN = 5


def main(folder: Path, *, run: Run | None = None) -> int:
    """Check the candidate in a folder, print what was found, and return an exit code: 0 is good, 2 is not run.

    Args:
        folder: as `write_folder` made it.
        run: runs the tool; by default in the sandbox.
    """
    brief, rules = read_folder(folder)
    checked = check(brief, (folder / TOOL).read_bytes(), rules, run)
    if isinstance(checked, str):
        sys.stdout.write(f"Not run: {checked}\n")
        return NOT_RUN
    sys.stdout.write(said(checked))
    return BAD if checked.verdict is Verdict.REFUSED else GOOD


def read_folder(folder: Path) -> tuple[Brief, CheckRules]:
    """Return the brief of a folder, with its cases, and what its check goes by."""
    brief, cases, rules = (
        json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("brief", "cases", "check")
    )
    by_outcome: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for case in cases:
        by_outcome[case.pop("failed")].append(case)
    return Brief.from_dict({**brief, "failing": by_outcome[True], "passing": by_outcome[False]}), CheckRules.from_dict(
        rules
    )


def check(brief: Brief, candidate: bytes, rules: CheckRules, run: Run | None = None) -> Rehearsal | str:
    """Return what the gate says of a candidate with shown calls alone, or why nothing was run."""
    calls = tuple(map(_call, brief.cases))
    given = Candidate(brief.tool_name, brief.source.encode(), candidate, Chosen(calls, {}), rules.rules, rules.failure)
    try:
        return rehearse(given, run or in_sandbox(rules.isolation, rules.libraries))
    except SandboxUnavailable as error:
        return str(error)


def said(done: Rehearsal) -> str:
    """Return a rehearsal in words."""
    lines = [f"{done.verdict.value}: " + ", ".join(f"{done.count(kind)} {kind.value}" for kind in PairKind)]
    lines += [f"- {reason}" for reason in done.for_author()]
    for pair in [pair for pair in done.pairs if pair.kind is not PairKind.FIXED][:_MOST_SHOWN]:
        shown = done.shown.pair(pair)
        if pair.kind is not PairKind.SAME or not pair.call.success:
            lines.append(f"{pair.kind.value}: call {pair.call.call_id}")
            lines += [
                f"  {name}: {json.dumps(shown[name], ensure_ascii=False)}" for name in ("parameters", "old", "new")
            ]
    return printable("\n".join(lines)) + "\n"


def _call(case: Case) -> Call:
    result = NO_RESULT if case.result is None else json.loads(case.result)
    return Call(case.call_id, case.parameters, case.success, result, case.signature)
