"""`rollguard amend`."""

from __future__ import annotations

from typing import Annotated

import typer

from rollguard.cli import output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.model.text import one_line


def amend(
    execution_id: Annotated[str, typer.Argument(metavar="EXECUTION", help="The id of the call.", show_default=False)],
    success: Annotated[
        bool | None, typer.Option("--success/--failure", help="Whether the answer was right.", show_default=False)
    ] = None,
    score: Annotated[
        float | None,
        typer.Option("--score", metavar="X", help="How right it was, from 0 to 1.", show_default=False),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why it failed.", show_default=False)
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change the outcome or the score of a call that was rated later."""
    if success is None and score is None:
        raise typer.BadParameter("give --success, --failure or --score")
    if reason is not None and success is not False:
        raise typer.BadParameter("--reason says why the call failed; give --failure too")
    with opened(config, adopt=False) as guard:
        changed = guard.store.amend(execution_id, success=success, score=score, reason=reason)
    if as_json:
        output.emit_json({"execution_id": execution_id, "changed": changed})
    else:
        output.lines(one_line(f"{execution_id} {'is amended' if changed else 'was so already; nothing was changed'}."))
