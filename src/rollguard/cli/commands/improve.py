"""`rollguard improve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import exits, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.table import Table
from rollguard.errors import InvalidSetting, ToolFileError

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.improve import Asked


def improve(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.", show_default=False)],
    improver: Annotated[
        str | None,
        typer.Option(
            "--improver", metavar="NAME", help="Ask only this one of the settings' improvers.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the candidate there; else it is printed.", show_default=False
        ),
    ] = None,
    draw: Annotated[int, typer.Option("--draw", metavar="N", help="Another number holds other calls out.")] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask the improvers of the settings once for a repair of a tool. Nothing is rehearsed or deployed.

    The exit code is 6 if none of them proposes one.
    """
    with opened(config, adopt=False) as guard:
        _check(guard, out)
        asked = guard.improvers.ask(guard.briefer.brief(tool, draw=draw), only=improver)
    proposal = asked.proposal
    if proposal is not None and out is not None:
        try:
            out.write_bytes(proposal.source)
        except OSError as error:
            raise ToolFileError(f"{out} cannot be written: {error.strerror}; name another file with --out") from error
    if as_json:
        output.emit_json(
            {
                "tool_name": tool,
                "proposal": None if proposal is None else proposal.to_dict(),
                "out": None if proposal is None or out is None else str(out),
                "answers": [answer.to_dict() for answer in asked.answers],
            }
        )
    elif proposal is not None and out is None:
        output.emit_bytes(proposal.source)
    else:
        _show(asked, tool, out)
    if proposal is None:
        raise typer.Exit(exits.REFUSED)


def _check(guard: Rollguard, out: Path | None) -> None:
    if not guard.improvers.names:
        raise InvalidSetting(
            "improve.improvers", 'there is none; add one, such as [[improve.improvers]] kind = "retry"'
        )
    if out is not None and out.resolve().is_relative_to(guard.settings.tools_dir.resolve()):
        raise typer.BadParameter(f"--out: {out} is in the folder of tools, where it would go live; name another place")


def _show(asked: Asked, tool: str, out: Path | None) -> None:
    rows = [
        (answer.improver, answer.outcome.value, f"{answer.seconds:.1f} s", "; ".join(answer.problems))
        for answer in asked.answers
    ]
    output.show(Table(("Improver", "Answer", "Took>", "Why~"), rows))
    for answer in asked.answers:
        if answer.problems and (printed := answer.output.strip()):
            output.lines(f"{answer.improver} printed last: {printed.splitlines()[-1]}")
    if asked.proposal is None:
        output.lines("", f"No candidate for {tool}.")
        return
    output.lines(
        "",
        f"Wrote {out}: {asked.proposal.reason}",
        f"Next, try: rollguard rehearse {tool} {out}",
    )
