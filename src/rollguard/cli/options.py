"""Options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class Given:
    """The options given before the command's name."""

    config: Path | None = None
    as_json: bool = False


def _config(context: typer.Context, config: Path | None) -> Path | None:
    return config or (context.obj.config if isinstance(context.obj, Given) else None)


def _as_json(context: typer.Context, as_json: bool) -> bool:
    return as_json or (isinstance(context.obj, Given) and context.obj.as_json)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The settings; by default ROLLGUARD_CONFIG, else rollguard.toml here or in a folder above.",
        show_default=False,
        callback=_config,
    ),
]

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs, and nothing else on stdout.", callback=_as_json)
]

OptionalTool = Annotated[str | None, typer.Argument(metavar="[TOOL]", help="Only this tool's.", show_default=False)]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]

Details = Annotated[bool, typer.Option("--details", help="Show the figures of the statistics too.")]

Since = Annotated[
    str,
    typer.Option("--since", metavar="WHEN", help="2d, 36h, 90min, today, yesterday, or a time in ISO 8601."),
]

# Before a tool was an argument, it was an option.
ToolFilter = Annotated[
    str | None, typer.Option("--tool", metavar="NAME", help="Only this tool's.", show_default=False, hidden=True)
]

Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Only those with this tag; can be repeated.", show_default=False),
]

Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most this many, newest first.")]
