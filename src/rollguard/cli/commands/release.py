"""`rollguard release` and `rollguard releases`: several tools that go live together, and what became of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json, Limit
from rollguard.cli.table import Table
from rollguard.model.formatting import moment

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.model.release import Release
    from rollguard.registry import Released

Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the history.", show_default=False)
]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who; by default your login name.", show_default=False)
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse code that would break callers.")]


def release(
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Its name: a git revision, a tag, an image.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The tools' files, named like the tools.")],
    reason: Reason = None,
    by: By = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="Your own values.", show_default=False)
    ] = None,
    no_watch: Annotated[bool, typer.Option("--no-watch", help="Do not monitor it.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Release code even if it was rolled back, and lift its quarantine.")
    ] = False,
    strict: Strict = False,
    replace: Annotated[bool, typer.Option("--replace", help="End the rollouts of its tools.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make several tools live together, and monitor each. If one regresses, all of them are rolled back.

    A label is released once: a second time with the same files changes nothing.
    """
    given = None if metadata is None else inputs.json_value(metadata, "--metadata")
    if given is not None and not isinstance(given, dict):
        raise typer.BadParameter('--metadata: give a JSON object, such as \'{"image": "tools:2"}\'')
    with opened(config) as guard, output.tools_print_to_stderr():
        done = guard.release(
            label,
            files,
            metadata=given,
            reason=reason,
            created_by=by or inputs.who(),
            force=force,
            strict=strict,
            watch=not no_watch,
            replace=replace,
        )
    if as_json:
        output.emit_json(done)
    else:
        say(done)


def say(done: Released) -> None:
    """Say what a release did."""
    tools = ", ".join(f"{name} {done.versions[name]}" for name in done.changed)
    if not done.new:
        state = "and was rolled back" if done.state == "rolled_back" else "with the same code"
        output.lines(f"{done.label} was released before, {state}. Nothing was changed.")
    elif not done.changed:
        output.lines(f"{done.label} is released. All of its tools were live already.")
    else:
        watched = ", ".join(str(number) for number in sorted(done.sessions.values()))
        watching = f"Session {watched} watches" if len(done.sessions) == 1 else f"Sessions {watched} watch"
        monitored = f"{watching if done.sessions else 'Nothing watches'} it."
        output.lines(f"{done.label} is released: {tools} {'is' if len(done.changed) == 1 else 'are'} live. {monitored}")
    breaking = [f"{name}: {c.sentence}" for name, changes in done.changes.items() for c in changes if c.breaking]
    if breaking:
        output.lines("This breaks callers:")
        output.bullets(breaking)


def releases(
    label: Annotated[
        str | None, typer.Argument(metavar="LABEL", help="Show this release's tools.", show_default=False)
    ] = None,
    limit: Limit = 20,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the releases, or the tools of one: their versions, what was live before, and what became of them."""
    with opened(config, adopt=False) as guard:
        found = guard.store.releases.recent(limit) if label is None else [guard.store.releases.get(label)]
        tools = {one.release_id: _tools(guard, one) for one in found}
    if as_json:
        made = [{**output.record(one), "tools": tools[one.release_id]} for one in found]
        output.emit_json({"releases": made} if label is None else made[0])
        return
    now = datetime.now(UTC)
    if label is not None:
        (one,) = found
        output.lines(f"{one.label}: {_state(one)}, released {moment(one.released_at, now)} by {one.created_by}")
        output.show(Table(("Tool", "Version>", "Before>", "Now"), [_row(tool) for tool in tools[one.release_id]]))
        return
    output.listing(
        ("Label", "Released", "By~", "Tools>", "Changed>", "State", "Reason~"),
        [
            (
                one.label,
                moment(one.released_at, now),
                one.created_by,
                len(tools[one.release_id]),
                sum(tool["changed"] for tool in tools[one.release_id]),
                _state(one),
                one.reason,
            )
            for one in found
        ],
        nothing="There are no releases.",
    )


def _tools(guard: Rollguard, one: Release) -> list[dict[str, Any]]:
    undone = guard.store.releases.rolled_back(one.release_id)
    live = guard.store.versions.live_of_all()
    return [
        {
            **output.record(tool),
            "rolled_back": tool.tool_name in undone,
            "live": (now := live.get(tool.tool_name)) is not None and now.version_number == tool.version_number,
        }
        for tool in guard.store.releases.tools(one.release_id)
    ]


def _row(tool: dict[str, Any]) -> tuple[object, ...]:
    now = "live" if tool["live"] else "rolled back" if tool["rolled_back"] else "replaced"
    before = tool["before_version"] if tool["before_version"] is not None else "none"
    return tool["tool_name"], tool["version_number"], before if tool["changed"] else "the same", now


def _state(one: Release) -> str:
    return one.state.replace("_", " ")
