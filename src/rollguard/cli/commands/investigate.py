"""`rollguard investigate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import output
from rollguard.cli.chosen import version_named
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.table import Table

if TYPE_CHECKING:
    from rollguard.investigate import Report

_MOST, _LONGEST = 5, 300


def investigate(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")],
    version: Annotated[
        str | None,
        typer.Option(
            "--version", metavar="N", help="Only failures of this version, or of a release's label.", show_default=False
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as Markdown.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find out why a tool fails: what failing calls have in common, since which version, and in which line.

    The report is kept in the table investigation_reports.
    """
    if markdown and as_json:
        raise typer.BadParameter("--markdown and --json exclude each other; give one of them")
    with opened(config, adopt=False) as guard:
        number = None if version is None else version_named(guard.store, tool, version)
        report = guard.investigator.investigate(tool, number)
    if as_json:
        output.emit_json(report.to_dict())
    elif markdown:
        output.code(report.to_markdown().encode())
    else:
        _show(report)


def _show(report: Report) -> None:
    from rollguard.investigate import in_words

    version = "" if report.version_number is None else f", version {report.version_number}"
    output.lines(f"{report.tool_name}{version}: {report.failures:,} of {report.calls:,} calls that were read failed")
    output.show("", output.heading("Causes"))
    output.bullets(map(in_words, report.causes))
    if report.signatures:
        rows = [
            (f"{one['count']:,}", one["version_number"], _shortened(one["signature"]))
            for one in report.signatures[:_MOST]
        ]
        output.show("", output.heading("What failed"))
        output.show(Table(("Failures>", "Since version>", "Error~"), rows))
    if report.source is not None:
        output.show("", output.heading(f"Code of version {report.source['version_number']}"))
        output.code(report.source["text"].encode())
    if report.notes:
        output.show("", output.heading("Notes"))
        output.bullets(report.notes)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
