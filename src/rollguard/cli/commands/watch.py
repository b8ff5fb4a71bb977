"""`rollguard watch`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import exits, output
from rollguard.cli.log_lines import log_lines
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.model.log import logger_of

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.loop.autonomous_loop import AutonomousLoop

_LABELS = {
    "checks": "checks",
    "rollbacks_triggered": "rollbacks",
    "rollbacks_failed": "failed rollbacks",
    "sessions_completed": "sessions completed",
    "errors": "errors",
}


def watch(
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            metavar="S",
            help="Seconds between two cycles; by default that of the settings.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Run one cycle, as for a cron job, and print counts.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check every monitored deployment, and roll back those that made their tool worse, until stopped.

    SIGTERM and Ctrl-C stop it after the checks under way, with exit code 0. The log goes to stderr.
    """
    import asyncio

    # The loop handles signals itself; until it runs, SIGTERM may arrive while the database is opened.
    before = signal.signal(signal.SIGTERM, stop_by_signal)
    try:
        with opened(config, logs=log_lines()) as guard:
            loop = _loop(guard, interval)
            with output.tools_print_to_stderr():
                did = asyncio.run(loop.check_deployment_health()) if once else _until_stopped(guard, loop)
    except KeyboardInterrupt:
        if once:
            raise
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        output.emit_json(did)
    elif once:
        output.lines(_summary(did))
    if once and (did["errors"] or did["rollbacks_failed"]):
        raise typer.Exit(exits.ERROR)


def _until_stopped(guard: Rollguard, loop: AutonomousLoop) -> dict[str, int]:
    import asyncio

    logger = logger_of("rollguard.cli")
    active = len(guard.monitor.get_active_sessions())
    logger.info("monitoring %d sessions; stop with Ctrl-C or SIGTERM", active)
    asyncio.run(loop.run())
    logger.info("stopped after %d cycles: %s", loop.stats["cycles"], _summary(loop.stats))
    return loop.stats


def _loop(guard: Rollguard, interval: float | None) -> AutonomousLoop:
    if interval is None:
        return guard.loop_of(improve=False)
    from rollguard.loop.autonomous_loop import AutonomousLoop

    return AutonomousLoop(guard.monitor, check_interval_seconds=interval)


def _summary(counts: dict[str, int]) -> str:
    return ", ".join(f"{label}: {counts[name]}" for name, label in _LABELS.items())


def stop_by_signal(_number: int, _frame: Any) -> None:
    """Handle SIGTERM like Ctrl-C."""
    raise KeyboardInterrupt
