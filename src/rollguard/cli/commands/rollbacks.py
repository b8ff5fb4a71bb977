"""`rollguard rollbacks`."""

from __future__ import annotations

from datetime import UTC, datetime

from rollguard.cli import output
from rollguard.cli.formatting import NOTHING, drop_points, moment
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, Limit, ToolFilter


def rollbacks(tool: ToolFilter = None, limit: Limit = 20, config: Config = None, as_json: Json = False) -> None:
    """List rollbacks, newest first: from which version to which, why, and their state."""
    with opened(config, adopt=False) as guard:
        found = guard.store.rollbacks.recent(tool_name=tool, limit=limit)
    if as_json:
        output.emit_json(found)
        return
    now = datetime.now(UTC)
    output.listing(
        ("Time", "Tool~", "Versions", "State", "Drop>", "Reason~"),
        [
            (
                moment(rollback.rollback_time, now),
                rollback.tool_name,
                f"{_number(rollback.from_version)} → {_number(rollback.to_version)}",
                rollback.state,
                drop_points(rollback.success_rate_drop),
                rollback.reason if rollback.error is None else f"{rollback.error} (because: {rollback.reason})",
            )
            for rollback in found
        ],
        nothing="There were no such rollbacks.",
    )


def _number(version: int | None) -> str:
    return NOTHING if version is None else str(version)
