"""`rollguard record`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import inputs, output
from rollguard.cli.chosen import version_named
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.progress import Advance, progress
from rollguard.errors import InvalidInput, UnknownVersion

if TYPE_CHECKING:
    from rollguard.cli import ingest
    from rollguard.store import ExecutionStore

_EVERY = 500  # executions between two updates of the progress bar


class FileFormat(StrEnum):
    """The formats of a file of executions."""

    jsonl = "jsonl"
    csv = "csv"


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


def record(
    tool: Annotated[str | None, _option("--tool", "NAME", "The tool that was called.")] = None,
    success: Annotated[
        bool | None, typer.Option("--success/--failure", help="How the call ended.", show_default=False)
    ] = None,
    duration_ms: Annotated[float | None, _option("--duration-ms", "MS", "How long it took.")] = None,
    error: Annotated[str | None, _option("--error", "TEXT", "What went wrong, such as 'KeyError: id'.")] = None,
    error_type: Annotated[str | None, _option("--error-type", "NAME", "The error's type.")] = None,
    parameters: Annotated[str | None, _option("--parameters", "JSON", "What it was called with.")] = None,
    result: Annotated[str | None, _option("--result", "JSON", "What it returned.")] = None,
    executed_at: Annotated[
        str | None, _option("--executed-at", "TIME", "When it began, in ISO 8601; now by default.")
    ] = None,
    version: Annotated[
        str | None,
        _option("--version", "N", "The version that ran, or the label of a release; else the time decides."),
    ] = None,
    execution_id: Annotated[
        str | None, _option("--execution-id", "ID", "Your id of the call; the same id is stored once.")
    ] = None,
    tag: Annotated[list[str] | None, _option("--tag", "NAME=VALUE", "A tag of your own; can be repeated.")] = None,
    file: Annotated[
        Path | None, _option("--file", "FILE", "Many executions: JSON lines or CSV; '-' reads stdin.")
    ] = None,
    form: Annotated[
        FileFormat | None,
        typer.Option("--format", help="The file's format, if its name does not show it.", show_default=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Record executions that other programs made: one from options, or a file of many.

    A file is stored in one transaction: all of it, or nothing if a line is invalid.
    """
    one = {
        "tool_name": tool,
        "success": success,
        "duration_ms": duration_ms,
        "error": error,
        "error_type": error_type,
        "parameters": None if parameters is None else inputs.json_value(parameters, "--parameters"),
        "result": None if result is None else inputs.json_value(result, "--result"),
        "executed_at": inputs.time_given(executed_at, "--executed-at"),
        "version_number": version,
        "execution_id": execution_id,
        "tags": inputs.tags_given(tag) or None,
    }
    given = [name for name, value in one.items() if value is not None]
    if file is not None and given:
        raise typer.BadParameter("--file has its own executions; leave out the options of a single one")
    if file is None and (tool is None or success is None):
        raise typer.BadParameter("give --tool and --success or --failure, or a file with --file")
    with opened(config) as guard:
        if file is not None:
            counts = _store_file(guard.store, file, None if form is None else form.value)
        else:
            one["execution_id"] = execution_id or uuid.uuid4().hex
            _Named(guard.store).number(one)
            new = guard.store.store_tool_executions([one])
            counts = {"read": 1, "new": new, "already_stored": 1 - new, "execution_id": one["execution_id"]}
    if as_json:
        output.emit_json(counts)
    else:
        known = f", {counts['already_stored']:,} were already known" if counts["already_stored"] else ""
        output.lines(f"{_counted(counts['new'])} stored{known}.")


def _store_file(store: ExecutionStore, file: Path, form: ingest.Format | None) -> dict[str, Any]:
    from rollguard.cli import ingest

    file_format = ingest.format_of(file, form)
    with ingest.opened_source(file) as source, progress("storing", size=source.size or None) as advance:
        try:
            new = store.store_tool_executions(_with_progress(store, source, file_format, advance))
        except ingest.BadLine:
            raise
        except InvalidInput as error:  # the store refuses one of the executions
            raise source.fault(error, error.number) from error
    return {"read": source.count, "new": new, "already_stored": source.count - new}


def _with_progress(
    store: ExecutionStore, source: ingest.Source, form: ingest.Format, advance: Advance
) -> Iterator[dict[str, Any]]:
    named = _Named(store)
    for number, execution in enumerate(source.executions(form)):
        if number % _EVERY == 0:
            advance(source.read, f"{source.count:,}")
        try:
            named.number(execution)
        except UnknownVersion as error:
            raise source.fault(error) from error
        yield execution
    advance(source.read, f"{source.count:,}")


class _Named:
    """Versions that are named by the labels of releases, each looked up once."""

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._known: dict[tuple[str, str], int] = {}

    def number(self, execution: dict[str, Any]) -> None:
        """Put the number of a version in the place of a label."""
        tool, version = execution.get("tool_name"), execution.get("version_number")
        if isinstance(version, str) and isinstance(tool, str):
            if (tool, version) not in self._known:
                self._known[tool, version] = version_named(self._store, tool, version)
            execution["version_number"] = self._known[tool, version]


def _counted(number: int) -> str:
    return f"{number:,} execution{'' if number == 1 else 's'}"
