"""`rollguard calls`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.chosen import version_named
from rollguard.cli.errors_shown import error_of
from rollguard.cli.inputs import since_given, tags_given
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, Limit, OptionalTool, Since, Tags, ToolFilter
from rollguard.model.formatting import NOTHING, milliseconds, moment, percent

if TYPE_CHECKING:
    from rollguard.model.execution import Execution
    from rollguard.store.executions.listing import ByTag

_NOTHING = "There is no such call."


def calls(
    tool: OptionalTool = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed ones.")] = False,
    since: Since = "7d",
    version: Annotated[
        str | None,
        typer.Option(
            "--version", metavar="N", help="Only those of this version, or of a release's label.", show_default=False
        ),
    ] = None,
    tag: Tags = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="TAG", help="Count them by the value of this tag instead.", show_default=False),
    ] = None,
    limit: Limit = 20,
    tool_before: ToolFilter = None,
    days: Annotated[float | None, typer.Option("--days", min=0, metavar="N", hidden=True)] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the calls of a tool, or of all, newest first: which failed, and why. Or count them by a tag."""
    if by is not None and failed:
        raise typer.BadParameter("--by counts failed calls beside all; leave out --failed")
    if by is not None and version is not None:
        raise typer.BadParameter("--by counts the calls of all versions; leave out --version")
    now, wanted, name = datetime.now(UTC), tags_given(tag), tool or tool_before
    start = since_given(since if days is None else f"{days:f}d", now)
    if version is not None and name is None and not version.isdecimal():
        raise typer.BadParameter(f"--version {version} is the label of a release; name the tool too")
    with opened(config, adopt=False) as guard:
        listing = guard.store.listing
        number = None if version is None else version_named(guard.store, name or "", version)
        if by is not None:
            _show_counts(by, listing.by_tag(by, name, tags=wanted, since=start, limit=limit), as_json=as_json)
            return
        found = listing.recent(name, tags=wanted, failed=failed, since=start, version=number, limit=limit)
    if as_json:
        output.emit_json([_record(execution) for execution in found])
        return
    columns = ["When", *([] if name else ["Tool"]), "Version>", "Outcome", "Took>", "Error~", "Tags"]
    tagged = any(one.tags for one in found)
    rows = [_row(one, now, name)[: None if tagged else -1] for one in found]
    output.listing(columns if tagged else columns[:-1], rows, nothing=_NOTHING)


def _row(one: Execution, now: datetime, name: str | None) -> list[object]:
    return [
        moment(one.executed_at, now, seconds=True),
        *([] if name else [one.tool_name]),
        one.version_number,
        "success" if one.success else "failure",
        milliseconds(one.duration_ms),
        error_of(one.error_type, one.error),
        _shown(one.tags),
    ]


def _show_counts(by: str, counts: list[ByTag], *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"value": one.value, "total": one.total, "failures": one.failures, "success_rate": 1 - one.failures / one.total}
        for one in counts
    ]
    if as_json:
        output.emit_json(rows)
        return
    output.listing(
        (by, "Calls>", "Failed>", "Success>"),
        [(one["value"], one["total"], one["failures"], percent(one["success_rate"])) for one in rows],
        nothing=_NOTHING,
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
