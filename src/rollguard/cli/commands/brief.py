"""`rollguard brief`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rollguard.cli import output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json


def brief(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.", show_default=False)],
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="FOLDER",
            help="Write a work folder: the brief, the calls, tool.py and a check of it.",
            show_default=False,
        ),
    ] = None,
    draw: Annotated[int, typer.Option("--draw", metavar="N", help="Another number holds other calls out.")] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print what the author of a repair gets: the cause, calls that fail and that pass, and what may not change.

    Calls that a rehearsal holds out are in no part of it.
    """
    with opened(config, adopt=False) as guard:
        made = guard.briefer.brief(tool, draw=draw)
        if into is not None:
            from rollguard.app.parts import check_rules_of
            from rollguard.improve.work_folder import write_folder

            if into.exists():
                raise typer.BadParameter(f"--into: {into} exists; name a folder that does not")
            into.mkdir(mode=0o700, parents=True)
            write_folder(into, made, check_rules_of(guard.settings, tool))
    if as_json:
        output.emit_json(made.to_dict())
    elif into is None:
        output.code(made.to_markdown().encode("utf-8", "backslashreplace"))
    else:
        output.lines(f"Wrote {into}: read brief.md, edit tool.py, and run ./check there.")
