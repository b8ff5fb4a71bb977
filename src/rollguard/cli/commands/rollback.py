"""`rollguard rollback` and `rollguard cancel`: decisions of a person."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.chosen import session_named
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, DryRun, Json
from rollguard.errors import SessionClosed, UnknownTool
from rollguard.model.text import one_line

if TYPE_CHECKING:
    from rollguard.app import Rollguard


def _reason_given(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why; it is kept in the history")
    return reason


def rollback(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")],
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why, for the history.", callback=_reason_given, show_default=False
        ),
    ],
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", help="The version; by default the last good one.", show_default=False),
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

    At a terminal, you have to confirm.
    """
    with opened(config, adopt=not dry_run) as guard:
        if dry_run:
            _plan(guard, tool, to, reason, as_json=as_json)
            return
        if not yes and sys.stdin.isatty() and not _confirmed(guard, tool, to):
            output.note("error: not confirmed; nothing was changed")
            raise typer.Exit(exits.ERROR)
        with output.tools_print_to_stderr():
            done = guard.monitor.roll_back(
                tool, to_version=to, reason=reason, requested_by=by or inputs.who(), quarantine=quarantine
            )
    if as_json:
        output.emit_json(done)
    else:
        output.lines(f"Version {done.to_version} of {tool} is live again, in place of version {done.from_version}.")


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


def _plan(guard: Rollguard, tool: str, to: int | None, reason: str, *, as_json: bool) -> None:
    """Say what a rollback would do; what refuses it refuses this too."""
    from rollguard.store import Intention

    live, sessions = guard.store.versions.live(tool), guard.store.sessions.active(tool)
    if live is None:
        raise UnknownTool(f"{tool} was never deployed, so there is nothing to roll back")
    session_id = sessions[0].session_id if sessions else None
    wanted = Intention(tool, session_id, live.version_number, to, reason, "manual", inputs.who())
    planned = guard.store.rollbacks.planned(wanted, datetime.now(UTC))
    if as_json:
        output.emit_json(
            {
                "dry_run": True,
                "tool_name": tool,
                "from_version": planned.from_version,
                "to_version": planned.to_version,
                "closes_session": session_id,
            }
        )
        return
    closes = "" if session_id is None else f", and session {session_id} would end"
    output.lines(
        f"Version {planned.to_version} of {tool} would be live again, in place of version {planned.from_version}"
        f"{closes}. Nothing was changed."
    )


def _confirmed(guard: Rollguard, tool: str, to: int | None) -> bool:
    live = guard.store.versions.live(tool)
    target = to if to is not None else guard.store.versions.previous_good(tool)
    if live is None or target is None:
        return True  # there is nothing to confirm; the rollback's error says why
    return typer.confirm(
        one_line(f"Roll {tool} back from version {live.version_number} to version {target}?"), err=True
    )
