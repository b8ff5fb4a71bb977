"""`rollguard executions`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.formatting import NOTHING, milliseconds, moment, percent
from rollguard.cli.inputs import tags_given
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, Limit, Tags, ToolFilter

if TYPE_CHECKING:
    from rollguard.model.execution import Execution
    from rollguard.store.executions.listing import ByTag


def executions(
    tool: ToolFilter = None,
    tag: Tags = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed ones.")] = False,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="TAG", help="Count them by the value of this tag instead.", show_default=False),
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0, metavar="N", help="Only those of the last N days.")] = 7,
    limit: Limit = 20,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List stored executions, newest first, or count them by a tag."""
    if by is not None and failed:
        raise typer.BadParameter("--by counts failed executions beside all; leave out --failed")
    now, wanted = datetime.now(UTC), tags_given(tag)
    since = now - timedelta(days=min(days, 36_500))
    with opened(config, adopt=False) as guard:
        listing = guard.store.listing
        if by is not None:
            _show_counts(by, listing.by_tag(by, tool, tags=wanted, since=since, limit=limit), as_json=as_json)
            return
        found = listing.recent(tool, tags=wanted, failed=failed, since=since, limit=limit)
    if as_json:
        output.emit_json([_record(execution) for execution in found])
        return
    output.listing(
        ("When", "Tool~", "Version>", "Outcome", "Took>", "Error~", "Tags~"),
        [
            (
                moment(one.executed_at, now),
                one.tool_name,
                one.version_number,
                "success" if one.success else "failure",
                milliseconds(one.duration_ms),
                one.error_type or one.error,
                _shown(one.tags),
            )
            for one in found
        ],
        nothing="There is no such execution.",
    )


def _show_counts(by: str, counts: list[ByTag], *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"value": one.value, "total": one.total, "failures": one.failures, "success_rate": 1 - one.failures / one.total}
        for one in counts
    ]
    if as_json:
        output.emit_json(rows)
        return
    output.listing(
        (f"{by}~", "Executions>", "Failures>", "Success>"),
        [(one["value"], one["total"], one["failures"], percent(one["success_rate"])) for one in rows],
        nothing="There is no such execution.",
    )


def _record(execution: Execution) -> dict[str, Any]:
    parsed = {name: _parsed(getattr(execution, name)) for name in ("parameters", "result", "tags", "failed_at")}
    return {**execution._asdict(), **parsed}


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):  # what another program wrote
        return text


def _shown(tags: str | None) -> str:
    found = _parsed(tags)
    if not isinstance(found, dict):
        return NOTHING
    return " ".join(f"{name}={value}" for name, value in found.items())
