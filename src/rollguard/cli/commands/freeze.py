"""`rollguard freeze` and `rollguard unfreeze`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import UnknownTool

if TYPE_CHECKING:
    from rollguard.app import Rollguard

_Tool = Annotated[
    str | None, typer.Argument(metavar="[TOOL]", help="The tool; without one, every tool.", show_default=False)
]
_Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the history.", show_default=False)
]
_By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who does it; by default your login name.", show_default=False),
]


def freeze(
    tool: _Tool = None, reason: _Reason = None, by: _By = None, config: Config = None, as_json: Json = False
) -> None:
    """Let the loop improve nothing more, of one tool or of any, until it is unfrozen.

    Monitoring and rollbacks go on. A proposal that waits stays, and is not deployed.
    """
    _set(tool, reason, by, config, frozen=True, as_json=as_json)


def unfreeze(
    tool: _Tool = None, reason: _Reason = None, by: _By = None, config: Config = None, as_json: Json = False
) -> None:
    """Let the loop improve a tool again, or every tool that is not frozen by itself."""
    _set(tool, reason, by, config, frozen=False, as_json=as_json)


def _is_known(guard: Rollguard, tool: str) -> bool:
    return guard.store.versions.live(tool) is not None or tool in guard.store.executions.tool_names()


def _set(
    tool: str | None, reason: str | None, by: str | None, config: Path | None, *, frozen: bool, as_json: bool
) -> None:
    with opened(config, adopt=False) as guard:
        freezes = guard.store.freezes
        if tool is not None and frozen and not _is_known(guard, tool):
            raise UnknownTool(f"there is no tool {tool}, so nothing was frozen; list them with: rollguard tools")
        changed = freezes.set(tool, frozen=frozen, by=by or inputs.who(), reason=reason, now=datetime.now(UTC))
        now = freezes.all()
    if as_json:
        held = [{"tool_name": name, "by": one.by, "reason": one.reason, "at": one.at} for name, one in now.items()]
        output.emit_json({"changed": changed, "frozen": held})
        return
    what = tool or "Every tool"
    if frozen:
        output.lines(f"{what} is frozen." if changed else f"{what} was frozen already.")
    else:
        output.lines(f"{what} is no longer frozen." if changed else f"{tool or 'The loop'} was not frozen.")
    if not frozen and tool is not None and None in now:
        output.lines("Every tool is frozen; unfreeze them with: rollguard unfreeze")
