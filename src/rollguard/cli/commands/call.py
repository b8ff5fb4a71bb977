"""`rollguard call`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import InvalidToolName, StoreError, ToolFileError, UnknownTool


def call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")],
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="Its parameters. A value is JSON if it can be, else text.",
            show_default=False,
        ),
    ] = None,
    params: Annotated[
        str | None,
        typer.Option("--params", metavar="JSON", help="Parameters as a JSON object.", show_default=False),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            "--request",
            metavar="ID",
            help="The request it is made for; calls that share an ID count once, with the last outcome.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run the live version of a tool, record the call, and print the result as JSON.

    The exit code is 4 when the tool failed. What the tool prints itself goes to stderr.
    """
    from rollguard.record import request as made_for
    from rollguard.store import text_of
    from rollguard.store.executions.payloads import plain

    given, called_for = inputs.parameters(assignments or [], params), made_for(request)
    with opened(config, must_answer=False) as guard:
        error: BaseException | None = None
        failure: str | None
        result: Any = None
        with output.tools_print_to_stderr():
            began = time.perf_counter()
            try:
                with called_for:
                    result = guard.registry.call(tool, **given)
            except (UnknownTool, InvalidToolName, ToolFileError, StoreError):  # there was no call
                raise
            except (Exception, SystemExit) as raised:  # noqa: BLE001 - a tool may raise anything; it is reported below
                error = raised
            duration_ms = (time.perf_counter() - began) * 1000.0
            if error is not None:
                error_type, failure = type(error).__name__, text_of(error)
            else:
                error_type = "ReturnedFailure"
                failure = guard.registry.failure_in(tool, guard.registry.get_tool(tool), result)
    if as_json:
        output.emit_json(
            {
                "tool_name": tool,
                "success": failure is None,
                "duration_ms": duration_ms,
                "result": plain(result),
                "error_type": None if failure is None else error_type,
                "error": failure,
            }
        )
    elif error is None:
        output.emit_json_lines(plain(result))
    if failure is not None:
        output.note(f"{tool} failed: {error_type}: {failure}")
        raise typer.Exit(exits.TOOL_FAILED)
