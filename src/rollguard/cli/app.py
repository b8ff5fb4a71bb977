"""Collect the commands into one application. A command's module is imported when the command is wanted."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rollguard.cli import exits
from rollguard.cli.options import Config, Given, Json

# The commands by panel of the help. Each is a function of the module of its name, or of the one after the colon.
PANELS: dict[str, tuple[str, ...]] = {
    "Begin": ("init", "tools", "rehearse", "deploy"),
    "Release": ("release", "sync", "releases:release"),
    "Run and record": ("call", "record", "amend"),
    "Watch": ("watch", "status", "show", "calls", "health", "doctor"),
    "Serve": ("serve", "token", "schema"),
    "Find what is weak": ("opportunities", "investigate", "brief", "improve"),
    "Improve by the loop": ("loop", "proposals", "freeze", "unfreeze:freeze"),
    "Try the rules": ("simulate", "backtest"),
    "Decide yourself": (
        *("rollback", "promote:rollout", "pause:rollout", "resume:rollout", "abort:rollout"),
        *("cancel:rollback", "quarantine"),
    ),
    "Look back": ("versions", "diff:versions", "sessions", "rollbacks", "explain"),
}
# Names that commands had before; they still work.
ALIASES = {"executions": "calls", "history": "versions", "stability": "stability:rollbacks"}

_HOMES = {where.partition(":")[0]: (where, panel) for panel, names in PANELS.items() for where in names}
COMMANDS = tuple(_HOMES)
_CODES = ". ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items())


class _Commands(TyperGroup):
    """The group of all commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name; None if there is none."""
        return command(cmd_name) if cmd_name in _HOMES or cmd_name in ALIASES else None


@functools.cache
def command(name: str) -> Any:
    """Return one command, ready to run."""
    where, panel = _HOMES.get(name) or (ALIASES[name], None)
    function, _, module = where.partition(":")
    only = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    found = getattr(import_module(f"rollguard.cli.commands.{module or function}"), function)
    only.command(name, rich_help_panel=panel, hidden=panel is None)(found)
    return typer.main.get_command(only)


app = typer.Typer(
    name="rollguard",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes. {_CODES}.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from rollguard import __version__

        typer.echo(f"rollguard {__version__}")
        raise typer.Exit


@app.callback()
def _rollguard(
    context: typer.Context,
    config: Config = None,
    as_json: Json = False,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Monitor every deployed version of an agent's tools, and restore the last good one when a new one fails more."""
    context.obj = Given(config, as_json)
