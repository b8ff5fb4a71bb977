"""`rollguard quarantine`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import inputs, output
from rollguard.cli.chosen import version_named
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, DryRun, Json, OptionalTool, ToolFilter
from rollguard.errors import UnknownVersion
from rollguard.model.formatting import moment

if TYPE_CHECKING:
    from rollguard.model.rollback import Quarantined
    from rollguard.store import ExecutionStore


def quarantine(
    tool: OptionalTool = None,
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
    dry_run: DryRun = False,
    tool_before: ToolFilter = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the code that was rolled back and may not be deployed again, or allow some of it again."""
    name, version = lift
    with opened(config, adopt=False) as guard:
        store = guard.store
        if name and not dry_run:
            number = version_named(store, name, version)
            found = [store.quarantine.lift(name, number, by=by or inputs.who(), now=datetime.now(UTC))]
        elif name:
            found = [_in_quarantine(store, name, version_named(store, name, version))]
        else:
            found = store.quarantine.in_force(tool or tool_before)
    if as_json:
        output.emit_json(found[0] if name else found)
    elif name:
        may = "could be deployed again; nothing was changed" if dry_run else "may be deployed again"
        output.lines(f"Version {found[0].version_number} of {name} {may}.")
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


def _in_quarantine(store: ExecutionStore, tool: str, number: int) -> Quarantined:
    for held in store.quarantine.in_force(tool):
        if held.version_number == number:
            return held
    raise UnknownVersion(f"version {number} of {tool} is not in quarantine; list what is: rollguard quarantine")
