"""`rollguard rollback` and `rollguard cancel`: decisions of a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.formatting import labelled
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
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
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Restore an earlier version of a tool now, and close the tool's active session.

    At a terminal, you have to confirm. With --release, all tools go back to what was live before the release.
    """
    if release is not None:
        if tool is not None or to is not None:
            raise typer.BadParameter("--release rolls back all of a release; leave out TOOL and --to")
        _roll_back_release(config, release, reason, by or inputs.who(), quarantine, yes, as_json)
        return
    if tool is None:
        raise typer.BadParameter("name the tool, or a release with --release")
    with opened(config) as guard:
        if not yes and sys.stdin.isatty() and not _confirmed(guard, tool, to):
            output.note("error: not confirmed; nothing was changed")
            raise typer.Exit(exits.ERROR)
        with output.tools_print_to_stderr():
            done = guard.monitor.roll_back(
                tool, to_version=to, reason=reason, requested_by=by or inputs.who(), quarantine=quarantine
            )
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
    session: Annotated[int, typer.Argument(metavar="SESSION", help="The session's number.")],
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why, for the history.", callback=_reason_given, show_default=False
        ),
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Stop monitoring a deployment. The live version stays live."""
    with opened(config) as guard:
        done = guard.monitor.cancel_monitoring(session, reason)
    if as_json:
        output.emit_json(done)
    else:
        output.lines(f"Session {session} is cancelled: {done.tool_name} is no longer watched, and stays as it is.")


def _confirmed(guard: Rollguard, tool: str, to: str | None) -> bool:
    live = guard.store.versions.live(tool)
    target = to if to is not None else guard.store.versions.previous_good(tool)
    if live is None or target is None:
        return True  # there is nothing to confirm; the rollback's error says why
    return typer.confirm(
        one_line(f"Roll {tool} back from version {live.version_number} to version {target}?"), err=True
    )
