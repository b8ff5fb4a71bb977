"""`rollguard loop`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import exits, output
from rollguard.cli.commands.watch import stop_by_signal
from rollguard.cli.log_lines import log_lines
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import InvalidSetting
from rollguard.model.log import logger_of

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.loop.autonomous_loop import AutonomousLoop


def loop(
    once: Annotated[bool, typer.Option("--once", help="Run one cycle of every stage, and print counts.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which tools would be improved, and change nothing.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Monitor deployments, and improve weak tools: find, investigate, repair, rehearse, approve, deploy and watch.

    It has to be switched on with improve = true under [loop]. Proposals wait for a person unless the settings let them
    through: see rollguard proposals. SIGTERM and Ctrl-C stop it, with exit code 0; what was begun goes on at the next
    start. Any number of loops may run on one store.
    """
    before = signal.signal(signal.SIGTERM, stop_by_signal)
    try:
        with opened(config, adopt=not dry_run, logs=log_lines()) as guard:
            if dry_run:
                _plan(guard, as_json=as_json)
                return
            did = _run(guard, once=once)
    except KeyboardInterrupt:
        if once:
            raise
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        output.emit_json(did)
    elif once:
        output.lines(", ".join(f"{name.replace('_', ' ')}: {number}" for name, number in did["cycle"].items()))
    if once and (did["cycle"].get("errors") or did["cycle"].get("rollbacks_failed")):
        raise typer.Exit(exits.ERROR)


def _run(guard: Rollguard, *, once: bool) -> dict[str, Any]:
    import asyncio

    if not guard.settings.loop.improve:
        raise InvalidSetting(
            "loop.improve", "is not true, so nothing would be improved; set it, or monitor with: rollguard watch"
        )
    running: AutonomousLoop = guard.loop
    logger = logger_of("rollguard.cli")
    with output.tools_print_to_stderr():
        if once:
            cycle = running.tick()
        else:
            improvers = ", ".join(guard.improvers.names) or "none, so nothing is proposed"
            logger.info("improving tools; improvers: %s; stop with Ctrl-C or SIGTERM", improvers)
            asyncio.run(running.run())
            cycle = dict(running.stats)
    return {"cycle": cycle, "statistics": running.statistics()}


def _plan(guard: Rollguard, *, as_json: bool) -> None:
    planned = guard.loop_of(improve=True, dry_run=True).plan()
    if as_json:
        output.emit_json([{**one.opportunity.to_dict(), "left_alone": one.left_alone} for one in planned])
        return
    output.listing(
        ("Tool", "Kind", "Priority", "Reason~", "The loop would"),
        [
            (
                one.opportunity.tool_name,
                str(one.opportunity.kind),
                str(one.opportunity.priority),
                one.opportunity.reason,
                "improve it" if one.left_alone is None else f"leave it alone: {one.left_alone}",
            )
            for one in planned
        ],
        nothing="No tool is weak.",
    )
