"""`rollguard history`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from rollguard.cli import output
from rollguard.cli.formatting import labelled, moment
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import UnknownTool


def history(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a tool's versions and deployments: who, when, why, and which is live. `versions` has the success rates."""
    with opened(config, adopt=False) as guard:
        versions = guard.versions.get_version_history(tool)
        deployments = guard.versions.get_deployments(tool)
        labels = guard.store.releases.labels(tool)
    if not versions:
        raise UnknownTool(f"{tool} has no versions: it was never deployed; list the tools with: rollguard tools")
    live = next((d.version_number for d in deployments if d.ended_at is None), None)
    if as_json:
        output.emit_json(
            {
                "tool_name": tool,
                "live_version": live,
                "versions": [
                    {**output.record(version, "code", "tool_name"), "labels": labels.get(version.version_number, ())}
                    for version in versions
                ],
                "deployments": [output.record(deployment, "tool_name") for deployment in deployments],
            }
        )
        return
    now = datetime.now(UTC)
    created = [
        (
            labelled(v.version_number, labels.get(v.version_number, ())),
            v.kind,
            moment(v.created_at, now),
            v.created_by,
            v.sha256[:10],
            v.reason,
        )
        for v in versions
    ]
    live_periods = [
        (
            labelled(d.version_number, labels.get(d.version_number, ())),
            d.kind,
            moment(d.deployed_at, now),
            "live" if d.ended_at is None else moment(d.ended_at, now),
            d.ended_by,
            d.deployed_by,
            d.reason,
        )
        for d in deployments
    ]
    output.show(
        output.table(("Version>", "Kind", "Made", "By~", "SHA-256", "Reason~"), created, title=f"Versions of {tool}"),
        "",
        output.table(
            ("Version>", "Begun by", "Live from", "Until", "Ended by", "By~", "Reason~"),
            live_periods,
            title="Deployments",
        ),
    )
