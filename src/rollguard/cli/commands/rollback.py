"""`rollguard rollback` and `rollguard cancel`: decisions of a person."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.chosen import session_named, version_named
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, DryRun, Json
from rollguard.errors import SessionClosed, UnknownTool
from rollguard.model.formatting import labelled
from rollguard.model.text import one_line

if TYPE_CHECKING:
    from rollguard.app import Rollguard


def _reason_given(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why; it is kept in the history")
    return reason


def rollback(
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why, for the history.", callback=_reason_given, show_default=False
        ),
    ],
    tool: Annotated[str | None, typer.Argument(metavar="TOOL", help="The tool.", show_default=False)] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="N",
            help="The version, or a release's label; by default the last good one.",
            show_default=False,
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="LABEL", help="Roll back all tools of this release.", show_default=False),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who; by default your login name.", show_default=False),
    ] = None,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Refuse to deploy the replaced code again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Restore an earlier version of a tool now, and close the tool's active session.

    At a terminal, you have to confirm. With --release, all tools go back to what was live before the release.
    """
    who = by or inputs.who()
    if release is not None:
        if tool is not None or to is not None:
            raise typer.BadParameter("--release rolls back all of a release; leave out TOOL and --to")
        if dry_run:
            _plan_release(config, release, reason, who, as_json=as_json)
        else:
            _roll_back_release(config, release, reason, who, quarantine, yes, as_json)
        return
    if tool is None:
        raise typer.BadParameter("name the tool, or a release with --release")
    with opened(config, adopt=not dry_run) as guard:
        if dry_run:
            _plan(guard, tool, to, reason, who, as_json=as_json)
            return
        if not yes and sys.stdin.isatty() and not _confirmed(guard, tool, to):
            output.note("error: not confirmed; nothing was changed")
            raise typer.Exit(exits.ERROR)
        with output.tools_print_to_stderr():
            done = guard.monitor.roll_back(tool, to_version=to, reason=reason, requested_by=who, quarantine=quarantine)
        labels = guard.store.releases.labels(tool)
    if as_json:
        output.emit_json(done)
    else:
        restored, replaced = (labelled(n, labels.get(n or 0, ())) for n in (done.to_version, done.from_version))
        output.lines(f"Version {restored} of {tool} is live again, in place of version {replaced}.")


def _roll_back_release(
    config: Path | None, label: str, reason: str, by: str, quarantine: bool, yes: bool, as_json: bool
) -> None:
    with opened(config) as guard:
        if not yes and sys.stdin.isatty() and not typer.confirm(one_line(f"Roll back release {label}?"), err=True):
            output.note("error: not confirmed; nothing was changed")
            raise typer.Exit(exits.ERROR)
        with output.tools_print_to_stderr():
            done, left = guard.monitor.roll_back_release(label, reason=reason, requested_by=by, quarantine=quarantine)
    if as_json:
        output.emit_json({"release": label, "rollbacks": done, "left": left})
        return
    for one in done:
        if one.open or one.error:
            output.lines(f"{one.tool_name} is not rolled back yet: {one.error}")
        elif one.withdraws:
            output.lines(f"{one.tool_name} is withdrawn: the release had added it.")
        else:
            output.lines(
                f"{one.tool_name} is at version {one.to_version} again, in place of version {one.from_version}."
            )
    for sentence in left:
        output.lines(f"left as it is: {sentence}")


def cancel(
    session: Annotated[
        str,
        typer.Argument(metavar="TOOL|SESSION", help="The tool, or the session's number.", show_default=False),
    ],
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why, for the history.", callback=_reason_given, show_default=False
        ),
    ],
    dry_run: DryRun = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Stop monitoring a deployment. The live version stays live."""
    with opened(config, adopt=not dry_run) as guard:
        found = session_named(guard.store, session)
        if dry_run and not found.active:
            raise SessionClosed(f"session {found.session_id} of {found.tool_name} is already {found.status}")
        if not dry_run:
            found = guard.monitor.cancel_monitoring(found.session_id, reason)
    if as_json:
        output.emit_json(found)
    elif dry_run:
        output.lines(f"Session {found.session_id} of {found.tool_name} would be cancelled. Nothing was changed.")
    else:
        output.lines(
            f"Session {found.session_id} is cancelled: {found.tool_name} is no longer watched, and stays as it is."
        )


def _plan(guard: Rollguard, tool: str, to: str | None, reason: str, by: str, *, as_json: bool) -> None:
    """Say what a rollback would do; what refuses it refuses this too."""
    from rollguard.store import Intention

    live, sessions = guard.store.versions.live(tool), guard.store.sessions.active(tool)
    if live is None:
        raise UnknownTool(f"{tool} was never deployed, so there is nothing to roll back")
    session_id = sessions[0].session_id if sessions else None
    target = None if to is None else version_named(guard.store, tool, to)
    wanted = Intention(tool, session_id, live.version_number, target, reason, "manual", by)
    wanted = guard.monitor.runner.of_rollout(wanted)
    guard.registry.remote.refuse_partial([tool])
    (planned, extent), labels = (
        guard.store.rollbacks.planned(wanted, datetime.now(UTC)),
        guard.store.releases.labels(tool),
    )
    together = [intention.tool_name for intention, _ in extent.others]
    if as_json:
        output.emit_json(
            {
                "dry_run": True,
                "tool_name": tool,
                "from_version": planned.from_version,
                "to_version": planned.to_version,
                "closes_session": session_id,
                "with_it": together,
            }
        )
        return
    restored, replaced = (labelled(n, labels.get(n or 0, ())) for n in (planned.to_version, planned.from_version))
    closes = "" if session_id is None else f", and session {session_id} would end"
    with_it = f" With it, from the same file or package: {', '.join(together)}." if together else ""
    output.lines(
        f"Version {restored} of {tool} would be live again, in place of version {replaced}{closes}.{with_it} "
        "Nothing was changed."
    )


def _plan_release(config: Path | None, label: str, reason: str, by: str, *, as_json: bool) -> None:
    """Say what the rollback of a release would do; what refuses it refuses this too."""
    from rollguard.store import Intention

    with opened(config, adopt=False) as guard:
        released = guard.store.releases.get(label).release_id
        cause = Intention("", None, None, None, reason, "manual", by, release_id=released)
        extent = guard.store.rollbacks.planned_release(cause)
    planned = [(intention.tool_name, decision) for intention, decision in extent.others]
    if as_json:
        tools = [
            {"tool_name": name, "from_version": one.from_version, "to_version": one.to_version} for name, one in planned
        ]
        output.emit_json({"dry_run": True, "release": label, "rollbacks": tools, "left": extent.left})
        return
    for name, one in planned:
        if one.to_version is None:
            output.lines(f"{name} would be withdrawn: the release had added it.")
        else:
            output.lines(f"{name} would be at version {one.to_version} again, in place of version {one.from_version}.")
    for sentence in extent.left:
        output.lines(f"would be left as it is: {sentence}")
    output.lines("Nothing was changed.")


def _confirmed(guard: Rollguard, tool: str, to: str | None) -> bool:
    live = guard.store.versions.live(tool)
    target = to if to is not None else guard.store.versions.previous_good(tool)
    if live is None or target is None:
        return True  # there is nothing to confirm; the rollback's error says why
    return typer.confirm(
        one_line(f"Roll {tool} back from version {live.version_number} to version {target}?"), err=True
    )
