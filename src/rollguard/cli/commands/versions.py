"""`rollguard versions` and `rollguard diff`: the versions of a tool, when each was live, and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.table import ALARM, Styled, Table
from rollguard.errors import UnknownTool, UnknownVersion
from rollguard.model.formatting import (
    change_percent,
    change_points,
    counted,
    exactly,
    labelled,
    milliseconds,
    moment,
    percent,
)

if TYPE_CHECKING:
    from rollguard.model.rollout import Rollout
    from rollguard.model.version import Deployment, VersionRecord
    from rollguard.versions.version_manager import ToolVersionManager, VersionComparison

Labels = Mapping[int, tuple[str, ...]]
Tool = Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")]


def versions(tool: Tool, config: Config = None, as_json: Json = False) -> None:
    """List a tool's versions, newest first, with how their calls went, and when each was live."""
    with opened(config, adopt=False) as guard:
        found = guard.versions.get_version_history(tool)
        deployments = guard.versions.get_deployments(tool)
        labels, rollout = guard.store.releases.labels(tool), guard.store.rollouts.open_of(tool)
    if not found:
        raise UnknownTool(f"{tool} has no versions: it was never deployed; list the tools with: rollguard tools")
    if as_json:
        output.emit_json(
            {
                "tool_name": tool,
                "live_version": next((d.version_number for d in deployments if d.ended_at is None), None),
                "versions": [
                    {**output.record(version, "code", "tool_name"), "labels": labels.get(version.version_number, ())}
                    for version in found
                ],
                "deployments": [output.record(deployment, "tool_name") for deployment in deployments],
            }
        )
        return
    now = datetime.now(UTC)
    output.show(
        Table(
            ("Version>", "State", "Kind", "Made", "Calls>", "Success>", "Reason~"),
            [_version(version, labels, now, rollout) for version in found],
            f"Versions of {tool}",
        ),
        "",
        Table(
            ("Version>", "Live from", "Until", "Begun by", "By", "Reason~"),
            [_deployment(deployment, labels, now) for deployment in deployments],
            "When each was live",
        ),
    )


def _version(version: VersionRecord, labels: Labels, now: datetime, rollout: Rollout | None) -> tuple[object, ...]:
    beside = rollout is not None and version.version_number == rollout.new_version and not version.is_live
    return (
        labelled(version.version_number, labels.get(version.version_number, ())),
        str(rollout.ramp.state) if rollout is not None and beside else state_of(version),
        version.kind,
        moment(version.created_at, now),
        f"{version.executions:,}",
        percent(version.success_rate),
        version.reason,
    )


def _deployment(deployment: Deployment, labels: Labels, now: datetime) -> tuple[object, ...]:
    return (
        labelled(deployment.version_number, labels.get(deployment.version_number, ())),
        moment(deployment.deployed_at, now),
        "live" if deployment.ended_at is None else moment(deployment.ended_at, now),
        deployment.kind,
        deployment.deployed_by,
        deployment.reason,
    )


def diff(
    tool: Tool,
    before: Annotated[
        str | None,
        typer.Argument(
            metavar="[A]",
            help="The first version, or a release's label; by default the one that B was made from.",
            show_default=False,
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]", help="The second; by default the newest, or with A the live one.", show_default=False
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare two versions: the code, what breaks callers, and their success rates.

    With the tool alone, it shows what the newest version changed.
    """
    with opened(config, adopt=False) as guard:
        found = guard.versions.compare_versions(tool, *_pair(guard.versions, tool, before, after))
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
        f"{counted(found.lines_added, 'line')} added, {found.lines_removed:,} removed.",
        *_caller_changes(found),
        "",
        _metrics(found, old, new),
    )


def _pair(manager: ToolVersionManager, tool: str, before: str | None, after: str | None) -> tuple[int | str, int | str]:
    """Return the two versions to compare, where people leave them out."""
    if before is not None and after is not None:
        return before, after
    history = manager.get_version_history(tool)
    if not history:
        raise UnknownTool(f"{tool} has no versions: it was never deployed; list the tools with: rollguard tools")
    newest = history[0]
    if before is not None:
        live = next((version.version_number for version in history if version.is_live), newest.version_number)
        first = manager.get_version(tool, before).version_number
        return before, live if live != first else newest.version_number
    if newest.parent_version is None:
        raise UnknownVersion(
            f"{tool} has one version, so there is nothing to compare; see: rollguard show {tool} --code"
        )
    return newest.parent_version, newest.version_number


def _metrics(found: VersionComparison, old: str, new: str) -> Table:
    before, after = found.before, found.after
    rate = change_points(exactly(found.success_rate_change))
    mean = [milliseconds(version.avg_duration_ms) for version in (before, after)]
    return Table(
        ("", f"Version {old}>", f"Version {new}>", "Change>"),
        [
            ("Calls", f"{before.executions:,}", f"{after.executions:,}", ""),
            ("Success rate", percent(before.success_rate), percent(after.success_rate), rate),
            ("Mean duration", *mean, change_percent(found.duration_change)),
            ("Deployed", counted(before.times_deployed, "time"), counted(after.times_deployed, "time"), ""),
            ("State", state_of(before), state_of(after), ""),
        ],
    )


def state_of(version: VersionRecord) -> str:
    """Return what became of a version."""
    if version.is_live:
        return "live"
    if version.was_rolled_back:
        return "rolled_back"
    return "replaced" if version.times_deployed else "never live"


def _caller_changes(found: VersionComparison) -> list[output.Part]:
    lines: list[output.Part] = []
    for title, style, breaking in (("This breaks callers:", ALARM, True), ("Callers may notice:", "", False)):
        sentences = [change.sentence for change in found.changes if change.breaking is breaking]
        if sentences:
            lines += ["", Styled(title, style), *(f"  • {s}" for s in sentences)]
    return lines or ["Callers notice nothing of it."]


def _as_json(found: VersionComparison) -> dict[str, Any]:
    return {
        **output.record(found, "before", "after", "changes"),
        "before": output.record(found.before, "code", "tool_name"),
        "after": output.record(found.after, "code", "tool_name"),
        "breaking": bool(found.breaking),
        "changes": list(found.changes),
    }
