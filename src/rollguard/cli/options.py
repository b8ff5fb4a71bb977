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

ToolFilter = Annotated[str | None, typer.Option("--tool", metavar="NAME", help="Only this tool's.", show_default=False)]

Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Only those with this tag; can be repeated.", show_default=False),
]

Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most this many, newest first.")]
