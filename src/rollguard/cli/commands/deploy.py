"""`rollguard deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, DryRun, Json
from rollguard.errors import InvalidToolName, ToolLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollguard.app import Rollguard
    from rollguard.app.deployed import Deployed
    from rollguard.compat import Change


def deploy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tool's code; '-' reads it from stdin.")],
    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="NAME", help="The tool; by default the file's name.", show_default=False),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the history.", show_default=False)
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who; by default your login name.", show_default=False),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="initial, bugfix, enhancement, improvement, rollback or edit; by default initial for the first "
            "version, else improvement.",
            show_default=False,
        ),
    ] = None,
    no_watch: Annotated[bool, typer.Option("--no-watch", help="Do not monitor the deployment.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Deploy the code even if it was rolled back, and lift its quarantine.")
    ] = False,
    already_live: Annotated[
        bool,
        typer.Option("--already-live", help="Another program deployed it already: only record and monitor it."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse code that would break callers.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Deploy it only if it passes a rehearsal on recorded calls.")
    ] = False,
    canary: Annotated[
        str | None,
        typer.Option(
            "--canary",
            metavar="PERCENT,...",
            help="Serve it beside the live version first, at these rising shares of calls, as 10,25,50; 'off' replaces "
            "that at once. By default what [monitor] rollout says.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a file's code the live version of a tool, and monitor it.

    Code that is live already is not deployed again. Changes that break callers of the tool are listed.
    """
    if tool is None and file == inputs.STDIN:
        raise typer.BadParameter("code from stdin has no name; give one with --tool")
    if rehearse and dry_run:
        raise typer.BadParameter("--dry-run runs no code; rehearse it with: rollguard rehearse TOOL FILE --no-fix")
    rollout = None if canary is None else _shares(canary)
    with opened(config, adopt=not dry_run) as guard:
        from rollguard.registry import name_of  # after all that --help needs

        code, name = inputs.code_of(file), tool or name_of(inputs.stem_of(file)) or inputs.stem_of(file)
        if dry_run:
            _plan(guard, name, code, force=force, strict=strict, as_json=as_json)
            return
        with output.tools_print_to_stderr():
            try:
                done = guard.deploy(
                    name,
                    code,
                    reason=reason,
                    created_by=by or inputs.who(),
                    kind=kind,
                    force=force,
                    strict=strict,
                    watch=not no_watch,
                    already_live=already_live,
                    rehearse=rehearse,
                    rollout=rollout,
                )
            except InvalidToolName as error:
                advice = "" if tool else "; name the tool with --tool"
                raise InvalidToolName(f"{error}{advice}") from error
    if as_json:
        output.emit_json(done)
        return
    version = f"version {done.version_number} of {done.tool_name}"
    if done.rollout_id is not None:
        _show_rollout(done)
    elif not done.changed:
        monitored = f"; session {done.session_id} watches it" if done.session_id else "; nothing watches it"
        file_state = "Its file held something else, and holds it again" if done.put_back else "Nothing was changed"
        output.lines(f"This code is live already, as {version}{monitored}. {file_state}.")
    elif done.session_id is None:
        output.lines(f"Version {done.version_number} of {done.tool_name} is live. Nothing watches it.")
    else:
        output.lines(
            f"Version {done.version_number} of {done.tool_name} is live. Session {done.session_id} watches it."
        )
    _show_breaking(done.changes)


def _shares(canary: str) -> list[float]:
    """Return the shares of `--canary`."""
    from rollguard.judge.rules import checked_shares

    try:
        return [] if canary == "off" else list(checked_shares([float(percent) / 100 for percent in canary.split(",")]))
    except ValueError as error:
        wanted = "give rising percentages above 0 and below 100, as 10,25,50, or 'off'"
        raise typer.BadParameter(f"--canary {canary!r}: {wanted}") from error


def _show_rollout(done: Deployed) -> None:
    version = f"Version {done.version_number} of {done.tool_name}"
    said = "serves beside the live version" if done.changed else "serves beside the live version already"
    output.lines(
        f"{version} {said}. Session {done.session_id} watches it, and the loop of rollguard watch decides.",
        f"Follow it with: rollguard show {done.tool_name}",
    )


def _show_breaking(changes: Sequence[Change]) -> None:
    breaking = [change.sentence for change in changes if change.breaking]
    if breaking:
        output.lines("This breaks callers:")
        output.bullets(breaking)


def _plan(guard: Rollguard, tool: str, code: bytes, *, force: bool, strict: bool, as_json: bool) -> None:
    """Say what a deployment would do. No code is run, so whether it loads is known when it is deployed."""
    from rollguard.compat import Form, form_of
    from rollguard.store import digest

    store, changes = guard.store, guard.registry.changes(tool, code)
    form = form_of(code, tool)
    if guard.registry.remote.of(tool) is None and form.form in (Form.NONE, Form.BROKEN):
        raise ToolLoadError(f"{tool}: {form.says}")
    held, live = store.versions.find(tool, digest(code)), store.versions.live(tool)
    if held is not None and not force:
        store.quarantine.refuse(held)
    number = (
        held.version_number if held else max((v.version_number for v in store.versions.history(tool)), default=0) + 1
    )
    before = None if live is None else live.version_number
    found: dict[str, Any] = {"tool_name": tool, "version_number": number, "live_version": before, "changes": changes}
    if as_json:
        output.emit_json({"dry_run": True, **found})
    elif number == before:
        output.lines(f"This code is live already, as version {number} of {tool}. Nothing was changed.")
    else:
        instead = "" if before is None else f", in place of version {before}"
        output.lines(f"Version {number} of {tool} would be live{instead}. Nothing was changed.")
        _show_breaking(changes)
    if strict and any(change.breaking for change in changes):
        raise typer.Exit(exits.BREAKING)
