"""`rollguard rollbacks`, and what was `rollguard stability`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import output
from rollguard.cli.inputs import since_given
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, Limit, OptionalTool, ToolFilter
from rollguard.model.formatting import NOTHING, drop_points, duration, labelled, moment, percent

if TYPE_CHECKING:
    from pathlib import Path

    from rollguard.cli.commands.versions import Labels
    from rollguard.model.rollback import Rollback


def rollbacks(
    tool: OptionalTool = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="2d, 36h, yesterday, or a time in ISO 8601.", show_default=False),
    ] = None,
    by_tool: Annotated[
        bool, typer.Option("--by-tool", help="Show how many of each tool's deployments were rolled back instead.")
    ] = False,
    limit: Limit = 20,
    tool_before: ToolFilter = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List rollbacks, newest first: from which version to which, why, and their state. Or count them by tool."""
    name, now = tool or tool_before, datetime.now(UTC)
    if by_tool:
        if name or since:
            raise typer.BadParameter("--by-tool counts all rollbacks of all tools; leave out the tool and --since")
        _show_counts(config, as_json=as_json)
        return
    start = None if since is None else since_given(since, now)
    with opened(config, adopt=False) as guard:
        found = guard.store.rollbacks.recent(tool_name=name, since=start, limit=limit)
        labels = {tool: guard.store.releases.labels(tool) for tool in {one.tool_name for one in found}}
    if as_json:
        output.emit_json(found)
        return
    output.listing(
        ("Time", *(() if name else ("Tool",)), "Versions", "State", "Drop>", "Reason~"),
        [
            (
                moment(rollback.rollback_time, now, seconds=True),
                *(() if name else (rollback.tool_name,)),
                versions_of(rollback, labels[rollback.tool_name]),
                rollback.state,
                drop_points(rollback.success_rate_drop),
                reason_of(rollback),
            )
            for rollback in found
        ],
        nothing="There were no such rollbacks.",
    )


def stability(config: Config = None, as_json: Json = False) -> None:
    """Show how many of each tool's deployments were rolled back. It is `rollbacks --by-tool` now."""
    _show_counts(config, as_json=as_json)


def versions_of(rollback: Rollback, labels: Labels = MappingProxyType({})) -> str:
    """Return from which version to which it goes, with the newest label of each."""
    numbers = (rollback.from_version, rollback.to_version)
    before, after = (NOTHING if n is None else labelled(n, labels.get(n, ())[-1:]) for n in numbers)
    return f"{before} → {after}"


def reason_of(rollback: Rollback) -> str:
    """Return why, and what stands in its way."""
    return rollback.reason if rollback.error is None else f"{rollback.error} (because: {rollback.reason})"


def _show_counts(config: Path | None, *, as_json: bool) -> None:
    with opened(config, adopt=False) as guard:
        rows = guard.store.reports.deployment_stability()
    if as_json:
        output.emit_json(rows)
        return
    output.listing(
        ("Tool", "Deployed>", "Rolled back>", "Rate>", "After>", "Success since>"),
        [
            (
                row["tool_name"],
                row["total_deployments"],
                row["total_rollbacks"],
                percent(row["rollback_rate"]),
                _hours(row["avg_hours_to_rollback"]),
                percent(row["avg_post_deployment_success_rate"]),
            )
            for row in rows
        ],
        nothing="No deployment was monitored yet.",
    )


def _hours(hours: float | None) -> str:
    return NOTHING if hours is None else duration(timedelta(hours=hours))
