"""`rollguard sessions`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from rollguard.cli import output, watching
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, Limit, OptionalTool, ToolFilter
from rollguard.model.formatting import moment


class Status(StrEnum):
    """The states of a session."""

    active = "active"
    completed = "completed"
    rolled_back = "rolled_back"
    superseded = "superseded"
    cancelled = "cancelled"


def sessions(
    tool: OptionalTool = None,
    status: Annotated[
        Status | None, typer.Option("--status", help="Only those in this state.", show_default=False)
    ] = None,
    limit: Limit = 20,
    tool_before: ToolFilter = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List monitoring sessions, newest first: which deployments were monitored, and with which result."""
    with opened(config, adopt=False) as guard:
        found = guard.store.sessions.recent(
            tool_name=tool or tool_before, status=None if status is None else status.value, limit=limit
        )
        who, interval = guard.store.watchers.watching(), watching.interval_of(guard)
    if as_json:
        coverage = who.coverage(interval)
        output.emit_json(
            [{**output.record(session), "coverage": coverage if session.active else None} for session in found]
        )
        return
    now = datetime.now(UTC)
    output.listing(
        ("Session>", "Tool", "Version>", "Deployed", "Status", "Notes~"),
        [
            (
                session.session_id,
                session.tool_name,
                session.version_number,
                moment(session.deployment_time, now),
                session.status,
                session.notes,
            )
            for session in found
        ],
        nothing="There are no such sessions.",
    )
    if any(session.active for session in found) and (warning := watching.warning(who, interval)):
        output.lines("", warning)
