"""`rollguard status`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output, watching
from rollguard.cli.formatting import NOTHING, ago, drop_points, duration
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import StoreUnavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rollguard.app import Rollguard
    from rollguard.model.in_flight import CallInFlight

_COLUMNS = ("Session>", "Tool~", "Version>", "Watched>", "Drop>", "Verdict", "Checked>")

_IN_FLIGHT = ("Running~", "Version>", "For>", "Where~")


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="S", help="Seconds between two refreshes, for --watch.")
    ] = 5.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the monitored deployments, each with its latest check, calls that do not end, and who watches."""
    if watch and as_json:
        raise typer.BadParameter("--watch is for people; for programs, call 'rollguard status --json' repeatedly")
    with opened(config, adopt=False) as guard:
        if as_json:
            who = watching.as_json(guard.store.watchers.watching(), watching.interval_of(guard))
            creeping = guard.store.sessions.creeping()
            rows = [row | {"creeping": creeping.get(row["session_id"])} for row in _rows(guard)]
            reports, running = guard.store.reports, [call.to_dict() for call in guard.store.in_flight.all()]
            sessions = {"sessions": rows, "silent": reports.silent(), "in_flight": running}
            output.emit_json({**who, **sessions})
        elif watch:
            _refresh(guard, interval)
        else:
            output.show(_now(guard))


def _rows(guard: Rollguard) -> list[dict[str, Any]]:
    return guard.store.reports.active_monitoring()


def _refresh(guard: Rollguard, interval: float) -> None:
    from rich.live import Live

    console = output.stdout_console()
    try:
        if not console.is_terminal:
            while True:
                output.show(_now(guard))
                time.sleep(interval)
        with Live(_now(guard), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_now_or_error(guard), refresh=True)
    except KeyboardInterrupt:
        return


def _now_or_error(guard: Rollguard) -> RenderableType:
    try:
        return _now(guard)
    except StoreUnavailable as error:  # it may come back; the view stays open
        return output.cell(f"{error}; trying again")


def _now(guard: Rollguard) -> RenderableType:
    from rich.console import Group

    rows, now = _rows(guard), datetime.now(UTC)
    parts: list[RenderableType] = [output.cell("No deployment is monitored. Deploy one with: rollguard deploy FILE")]
    if rows:
        parts = [output.table(_COLUMNS, [_row(row, now) for row in rows])]
        warning = _overdue(rows, now, guard.settings.watch.check_interval_seconds)
        parts += ["", output.cell(warning)] if warning else []
        names = {row["session_id"]: row["tool_name"] for row in rows}
        for number, text in guard.store.sessions.creeping().items():
            parts += ["", output.cell(f"{names[number]}: {text}")] if number in names else []
    for silent in guard.store.reports.silent():
        says = f"{silent['tool_name']}: nobody calls it any more; the last call was {ago(silent['silent_since'], now)}."
        parts += ["", output.cell(says)]
    running = guard.store.in_flight.all()
    if running:
        parts += ["", output.table(_IN_FLIGHT, [_running(call, now) for call in running])]
    who = watching.shown(guard.store.watchers.watching(), watching.interval_of(guard), now)
    return Group(*parts, *([] if who is None else ["", who]))


def _row(row: dict[str, Any], now: datetime) -> tuple[object, ...]:
    return (
        row["session_id"],
        row["tool_name"],
        row["version_number"],
        f"{duration(timedelta(hours=row['hours_elapsed']))} of {row['monitoring_window_hours']} h",
        drop_points(row["latest_success_rate_drop"]),
        row["latest_verdict"] or "not checked yet",
        NOTHING if row["latest_check_at"] is None else ago(row["latest_check_at"], now),
    )


def _running(call: CallInFlight, now: datetime) -> tuple[object, ...]:
    place = f"{call.host}, process {call.pid}" + (", gone?" if call.lost else "")
    version = NOTHING if call.version_number is None else call.version_number
    return (call.tool_name, version, duration(max(timedelta(), now - call.began_at)), place)


def _overdue(rows: list[dict[str, Any]], now: datetime, interval: float) -> str | None:
    """Return a warning if checks are overdue."""
    late = now - timedelta(seconds=2 * interval)
    missed = [row for row in rows if (row["latest_check_at"] or row["monitoring_started_at"]) < late]
    if not missed:
        return None
    which = f"{len(missed)} of {len(rows)} sessions were" if len(rows) > 1 else "The session was"
    return f"{which} not checked for more than {duration(2 * timedelta(seconds=interval))}."
