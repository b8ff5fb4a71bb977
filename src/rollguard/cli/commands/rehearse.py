"""`rollguard rehearse`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.table import Table

if TYPE_CHECKING:
    from rollguard.rehearse import Rehearsal

_CODES = {"passes": exits.OK, "refused": exits.REFUSED, "ask": exits.UNDECIDED}
_OUTCOMES = ("fixed", "broken", "same", "changed")
_SAYS = {
    "passes": "passes: it may be deployed.",
    "refused": "is refused.",
    "ask": "is left to a person: read the reasons, and deploy it if they are what you want.",
}


def rehearse(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The candidate's code; '-' reads it from stdin.")],
    no_fix: Annotated[
        bool, typer.Option("--no-fix", help="It is to fix nothing, and only must break nothing.")
    ] = False,
    days: Annotated[int, typer.Option("--days", min=1, metavar="N", help="How far back calls are read.")] = 30,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run a candidate beside the live version on recorded calls, in the sandbox, and say whether it may go live.

    Nothing is deployed. The exit code is 0 if it passes, 6 if it is refused, and 7 if a person has to decide.
    """
    code = inputs.code_of(file)
    with opened(config, adopt=False) as guard:
        done = guard.rehearser.rehearse(tool, code, must_fix=not no_fix, lookback_days=days)
    if as_json:
        output.emit_json(done.to_dict())
    else:
        _show(done)
    if exit_code := _CODES[done.verdict.value]:
        raise typer.Exit(exit_code)


def _show(done: Rehearsal) -> None:
    said = done.to_dict()
    output.lines(f"The candidate for {done.tool_name} {_SAYS[said['verdict']]}")
    if done.strategy is not None:
        output.lines(f"Rehearsed by {said['strategy']}, since {done.why}.")
    if said["reasons"]:
        output.show("", output.heading("Reasons"))
        output.bullets(f"{'refused' if r['weight'] == 'refuse' else 'ask'}: {r['text']}" for r in said["reasons"])
    if done.pairs:
        output.lines("")
        output.show(Table(("Outcome", "Calls>"), [(kind, said[kind]) for kind in _OUTCOMES]))
        output.lines(
            f"{said['held_out']} of them were held out, and with {said['moved']} the live version itself differs."
        )
    unfit = [f"{count} not run again: {reason}" for reason, count in said["unfit"].items()]
    if said["repeated"]:
        unfit.append(f"{said['repeated']} not run again: the same input as another call")
    if unfit:
        output.show("", output.heading("Other recorded calls"))
        output.bullets(unfit)
    if said["noise"]:
        output.lines("", f"Not compared, since the live version itself varies there: {', '.join(said['noise'])}")
    for entry in said["inputs"]:
        if entry["kind"] != "fixed":
            _show_input(entry)
    _show_cases(said["test_cases"])


def _show_input(entry: dict[str, Any]) -> None:
    output.lines(
        "",
        f"{entry['kind']}: call {entry['call_id']}{' (held out)' if entry['held_out'] else ''}",
        f"  parameters  {json.dumps(entry['parameters'], ensure_ascii=False)}",
        f"  live        {entry['old']}",
        f"  candidate   {entry['new']}",
    )
    output.bullets(entry["differences"])


def _show_cases(cases: list[dict[str, Any]]) -> None:
    failed = [case for case in cases if not case["passed"]]
    if cases:
        output.lines("", f"{len(cases) - len(failed)} of {len(cases)} declared test cases pass")
    output.bullets(f"{case['description'] or 'a test case'}: {case['problem']}" for case in failed)
