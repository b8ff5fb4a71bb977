"""`rollguard versions`, `rollguard show` and `rollguard diff`: every version, its code, and what changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.formatting import NOTHING, change_points, exactly, labelled, milliseconds, moment, percent
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import UnknownTool

if TYPE_CHECKING:
    from rollguard.model.version import VersionRecord
    from rollguard.versions.version_manager import VersionComparison

Tool = Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")]


def versions(tool: Tool, config: Config = None, as_json: Json = False) -> None:
    """List a tool's versions, newest first: kind, how often each went live, and its success rate.

    `history` shows when each went live.
    """
    with opened(config, adopt=False) as guard:
        found = guard.versions.get_version_history(tool)
    if not found:
        raise UnknownTool(f"{tool} has no versions: it was never deployed; list the tools with: rollguard tools")
    if as_json:
        output.emit_json({"tool_name": tool, "versions": [output.record(v, "code", "tool_name") for v in found]})
        return
    now = datetime.now(UTC)
    output.show(
        output.table(
            ("Version>", "Kind", "Made", "State", "Lives>", "Calls>", "Success>", "Mean time>"),
            [
                (
                    v.version_number,
                    v.kind,
                    moment(v.created_at, now),
                    _state(v),
                    v.times_deployed,
                    v.executions,
                    percent(v.success_rate),
                    milliseconds(v.avg_duration_ms),
                )
                for v in found
            ],
        )
    )


def show(
    tool: Tool,
    version: Annotated[str, typer.Argument(metavar="N", help="The version, or a release's label.")],
    code_only: Annotated[bool, typer.Option("--code", help="Print only the code, byte for byte.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a version: its code, its author and reason, and its success rate."""
    if code_only and as_json:
        raise typer.BadParameter("--code prints the code as it is; leave out one of --code and --json")
    with opened(config, adopt=False) as guard:
        found = guard.versions.get_version(tool, version)
        labels = guard.store.releases.labels(tool).get(found.version_number, ())
    if code_only:
        output.emit_bytes(found.code)
        return
    if as_json:
        output.emit_json(
            {**output.record(found, "code"), "labels": labels, "code": found.code.decode("utf-8", "backslashreplace")}
        )
        return
    now = datetime.now(UTC)
    rows = [("Kind", found.kind), ("Made", f"{moment(found.created_at, now)} by {found.created_by}")]
    rows += [("Reason", found.reason)] if found.reason else []
    rows += [("Made from", f"version {found.parent_version}")] if found.parent_version else []
    rows += [("SHA-256", found.sha256), ("State", _state(found)), ("Went live", _times(found, now))]
    rows += [("Rolled back", found.rolled_back_reason)] if found.rolled_back_reason else []
    rows += [("Calls", _calls(found))]
    width = max(len(name) for name, _ in rows) + 2
    output.lines(
        f"{tool}, version {labelled(found.version_number, labels)}",
        "",
        *(f"{name:{width}}{value}" for name, value in rows),
        "",
    )
    output.code(found.code)


def diff(
    tool: Tool,
    before: Annotated[str, typer.Argument(metavar="A", help="The first version, or a release's label.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The second version, or a release's label.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare two versions: the code, what breaks callers, and their success rates."""
    with opened(config, adopt=False) as guard:
        found = guard.versions.compare_versions(tool, before, after)
        labels = guard.store.releases.labels(tool)
    if as_json:
        output.emit_json(_as_json(found))
        return
    old, new = (labelled(v.version_number, labels.get(v.version_number, ())) for v in (found.before, found.after))
    if found.diff:
        output.diff(found.diff)
    else:
        output.lines(f"Versions {old} and {new} are the same code.")
    output.show(
        "",
        f"{found.lines_added} lines added, {found.lines_removed} removed.",
        *_caller_changes(found),
        "",
        output.table(
            ("", f"Version {old}>", f"Version {new}>", "Change>"),
            [
                ("Calls", found.before.executions, found.after.executions, ""),
                (
                    "Success rate",
                    percent(found.before.success_rate),
                    percent(found.after.success_rate),
                    change_points(exactly(found.success_rate_change)),
                ),
                (
                    "Mean duration",
                    milliseconds(found.before.avg_duration_ms),
                    milliseconds(found.after.avg_duration_ms),
                    NOTHING if found.duration_change is None else f"{found.duration_change:+.0%}".replace("%", " %"),
                ),
                ("Deployed", found.before.times_deployed, found.after.times_deployed, ""),
                ("State", _state(found.before), _state(found.after), ""),
            ],
        ),
    )


def _state(version: VersionRecord) -> str:
    if version.is_live:
        return "live"
    if version.was_rolled_back:
        return "rolled_back"
    return "replaced" if version.times_deployed else "never live"


def _times(version: VersionRecord, now: datetime) -> str:
    if not version.times_deployed:
        return "never"
    times = "once" if version.times_deployed == 1 else f"{version.times_deployed} times"
    restored = f", {version.times_restored} by a rollback" if version.times_restored else ""
    return f"{times}{restored}, last {moment(version.last_deployed_at, now)}"


def _calls(version: VersionRecord) -> str:
    if not version.executions:
        return "none"
    return f"{version.executions}, {percent(version.success_rate)} succeeded, {milliseconds(version.avg_duration_ms)}"


def _caller_changes(found: VersionComparison) -> list[Any]:
    from rich.text import Text

    lines: list[Any] = []
    for title, style, breaking in (("This breaks callers:", "bold red", True), ("Callers may notice:", "", False)):
        sentences = [change.sentence for change in found.changes if change.breaking is breaking]
        if sentences:
            lines += ["", Text(title, style=style), *(f"  • {s}" for s in sentences)]
    return lines or ["Callers notice nothing of it."]


def _as_json(found: VersionComparison) -> dict[str, Any]:
    return {
        **output.record(found, "before", "after", "changes"),
        "before": output.record(found.before, "code", "tool_name"),
        "after": output.record(found.after, "code", "tool_name"),
        "breaking": bool(found.breaking),
        "changes": list(found.changes),
    }
