"""Collect the commands into one application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from rollguard.cli import exits
from rollguard.cli.commands import (
    backtest,
    call,
    deploy,
    doctor,
    executions,
    explain,
    health,
    history,
    init,
    investigate,
    opportunities,
    quarantine,
    record,
    rehearse,
    release,
    rollback,
    rollbacks,
    sessions,
    simulate,
    stability,
    status,
    sync,
    tools,
    versions,
    watch,
)
from rollguard.cli.options import Config, Given, Json

_CODES = ". ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items())

app = typer.Typer(
    name="rollguard",
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


_PANELS: dict[str, tuple[tuple[str, Callable[..., None]], ...]] = {
    "Begin": (("init", init.init), ("tools", tools.tools), ("rehearse", rehearse.rehearse), ("deploy", deploy.deploy)),
    "Release": (("release", release.release), ("sync", sync.sync), ("releases", release.releases)),
    "Run and record": (("call", call.call), ("record", record.record)),
    "Watch": (("watch", watch.watch), ("status", status.status), ("health", health.health), ("doctor", doctor.doctor)),
    "Find what is weak": (
        ("opportunities", opportunities.opportunities),
        ("investigate", investigate.investigate),
    ),
    "Try the rules": (("simulate", simulate.simulate), ("backtest", backtest.backtest)),
    "Decide yourself": (
        ("rollback", rollback.rollback),
        ("cancel", rollback.cancel),
        ("quarantine", quarantine.quarantine),
    ),
    "Look back": (
        ("sessions", sessions.sessions),
        ("history", history.history),
        ("executions", executions.executions),
        ("versions", versions.versions),
        ("show", versions.show),
        ("diff", versions.diff),
        ("rollbacks", rollbacks.rollbacks),
        ("explain", explain.explain),
        ("stability", stability.stability),
    ),
}
for _panel, _commands in _PANELS.items():
    for _name, _function in _commands:
        app.command(_name, rich_help_panel=_panel)(_function)
