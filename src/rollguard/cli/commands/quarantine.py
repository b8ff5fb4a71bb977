"""`rollguard quarantine`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from rollguard.cli import inputs, output
from rollguard.cli.formatting import moment
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, ToolFilter


def quarantine(
    tool: ToolFilter = None,
    lift: Annotated[
        tuple[str, str],
        typer.Option(
            "--lift",
            metavar="TOOL N",
            help="Allow version N of a tool, or that of a release's label, to be deployed again.",
            show_default=False,
        ),
    ] = ("", ""),
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who lifts it; by default your login name.", show_default=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the code that was rolled back and may not be deployed again, or allow some of it again."""
    name, version = lift
    with opened(config, adopt=False) as guard:
        if name:
            number = int(version) if version.isdecimal() else guard.store.versions.get(name, version).version_number
            lifted = guard.store.quarantine.lift(name, number, by=by or inputs.who(), now=datetime.now(UTC))
            found = [lifted]
        else:
            found = guard.store.quarantine.in_force(tool)
    if as_json:
        output.emit_json(found[0] if name else found)
    elif name:
        output.lines(f"Version {found[0].version_number} of {name} may be deployed again.")
    else:
        now = datetime.now(UTC)
        output.listing(
            ("Tool~", "Version>", "SHA-256", "Since", "Reason~"),
            [
                (held.tool_name, held.version_number, held.sha256[:10], moment(held.quarantined_at, now), held.reason)
                for held in found
            ],
            nothing="No code is in quarantine.",
        )
