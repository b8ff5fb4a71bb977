"""`rollguard call`."""

from __future__ import annotations

import time
from types import CoroutineType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import InvalidInput

if TYPE_CHECKING:
    from rollguard.registry.serve.loader import LoadedTool


def call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")],
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="Its parameters. A text is taken as it is; any other value as JSON.",
            show_default=False,
        ),
    ] = None,
    params: Annotated[
        str | None,
        typer.Option("--params", metavar="JSON", help="Parameters as a JSON object.", show_default=False),
    ] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Record the call: it counts like a call of production."),
    ] = False,
    request: Annotated[
        str | None,
        typer.Option(
            "--request",
            metavar="ID",
            help="With --record: the request it is made for; calls that share an ID count once, with the last outcome.",
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=VALUE", help="With --record: a tag; can be repeated.", show_default=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run the live version of a tool to try it, and print the result as JSON.

    The call is not recorded, so it does not count in any decision. The parameters are checked, and converted to the
    types that the tool declares; wrong ones exit with 2. The exit code is 4 when the tool failed. What the tool prints
    itself goes to stderr.
    """
    from rollguard.record import request as made_for
    from rollguard.record import tags
    from rollguard.registry.serve.arguments import arguments_of
    from rollguard.store import text_of
    from rollguard.store.executions.payloads import plain

    if request is not None and not record:
        raise typer.BadParameter("--request names what a recorded call is made for; give --record too")
    if tag and not record:
        raise typer.BadParameter("--tag tags a recorded call; give --record too")
    (given, texts), called_for = inputs.parameters(assignments or [], params), made_for(request)
    tagged = tags(inputs.tags_given(tag))
    with opened(config, must_answer=False) as guard, output.tools_print_to_stderr():
        loaded = guard.registry.get_tool(tool)
        try:
            arguments = arguments_of(loaded, given, texts)
        except InvalidInput as wrong:
            raise typer.BadParameter(str(wrong)) from None
        result: Any = None
        error: BaseException | None = None
        began = time.perf_counter()
        try:
            with called_for, tagged:
                result = guard.registry.call(tool, **arguments) if record else _tried(loaded, arguments)
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - a tool may raise anything; it is reported below
            error = raised
        duration_ms = (time.perf_counter() - began) * 1000.0
        failure: str | None
        if error is not None:
            error_type, failure = type(error).__name__, text_of(error)
        else:
            error_type, failure = "ReturnedFailure", guard.registry.failure_in(tool, loaded, result)
    if as_json:
        output.emit_json(
            {
                "tool_name": tool,
                "success": failure is None,
                "duration_ms": duration_ms,
                "result": plain(result),
                "error_type": None if failure is None else error_type,
                "error": failure,
                "recorded": record,
            }
        )
    elif error is None:
        output.emit_json_lines(plain(result))
    if failure is not None:
        output.note(f"{tool} failed: {error_type}: {failure}")
        raise typer.Exit(exits.TOOL_FAILED)


def _tried(tool: LoadedTool, arguments: dict[str, Any]) -> Any:
    """Run the tool without recording the call."""
    import asyncio

    result = tool.invoke(**arguments)
    return asyncio.run(result) if isinstance(result, CoroutineType) else result
