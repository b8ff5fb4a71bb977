"""`rollguard quarantine`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from rollguard.cli import inputs, output
from rollguard.cli.formatting import moment
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, DryRun, Json, OptionalTool, ToolFilter
from rollguard.errors import UnknownVersion


def quarantine(
    tool: OptionalTool = None,
    lift: Annotated[
        tuple[str, int],
        typer.Option(
            "--lift", metavar="TOOL N", help="Allow version N of a tool to be deployed again.", show_default=False
        ),
    ] = ("", 0),
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who lifts it; by default your login name.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    tool_before: ToolFilter = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the code that was rolled back and may not be deployed again, or allow some of it again."""
    name, number = lift
    with opened(config, adopt=False) as guard:
        if name and not dry_run:
            found = [guard.store.quarantine.lift(name, number, by=by or inputs.who(), now=datetime.now(UTC))]
        else:
            found = guard.store.quarantine.in_force(name or tool or tool_before)
    if name and dry_run:
        found = [held for held in found if held.version_number == number]
        if not found:
            raise UnknownVersion(f"version {number} of {name} is not in quarantine; list what is: rollguard quarantine")
    if as_json:
        output.emit_json(found[0] if name else found)
    elif name:
        may = "could be deployed again; nothing was changed" if dry_run else "may be deployed again"
        output.lines(f"Version {number} of {name} {may}.")
    else:
        now = datetime.now(UTC)
        output.listing(
            ("Tool", "Version>", "SHA-256", "Since", "Reason~"),
            [
                (held.tool_name, held.version_number, held.sha256[:10], moment(held.quarantined_at, now), held.reason)
                for held in found
            ],
            nothing="No code is in quarantine.",
        )
