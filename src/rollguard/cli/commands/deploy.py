"""`rollguard deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rollguard.cli import inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import InvalidToolName


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
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a file's code the live version of a tool, and monitor it.

    Code that is live already is not deployed again. Changes that break callers of the tool are listed.
    """
    if tool is None and file == inputs.STDIN:
        raise typer.BadParameter("code from stdin has no name; give one with --tool")
    from rollguard.registry import name_of

    with opened(config) as guard:
        from rollguard.registry import name_of  # after all that --help needs

        code = inputs.code_of(file)
        with output.tools_print_to_stderr():
            try:
                done = guard.deploy(
                    tool or name_of(file.stem) or file.stem,
                    code,
                    reason=reason,
                    created_by=by or inputs.who(),
                    kind=kind,
                    force=force,
                    strict=strict,
                    watch=not no_watch,
                    already_live=already_live,
                    rehearse=rehearse,
                )
            except InvalidToolName as error:
                advice = "" if tool else "; name the tool with --tool"
                raise InvalidToolName(f"{error}{advice}") from error
    if as_json:
        output.emit_json(done)
        return
    version = f"version {done.version_number} of {done.tool_name}"
    if not done.changed:
        monitored = f"; session {done.session_id} watches it" if done.session_id else "; nothing watches it"
        file_state = "Its file held something else, and holds it again" if done.put_back else "Nothing was changed"
        output.lines(f"This code is live already, as {version}{monitored}. {file_state}.")
    elif done.session_id is None:
        output.lines(f"Version {done.version_number} of {done.tool_name} is live. Nothing watches it.")
    else:
        output.lines(
            f"Version {done.version_number} of {done.tool_name} is live. Session {done.session_id} watches it."
        )

    breaking = [change.sentence for change in done.changes if change.breaking]
    if breaking:
        output.lines("This breaks callers:")
        output.bullets(breaking)
