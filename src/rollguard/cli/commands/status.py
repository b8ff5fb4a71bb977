"""`rollguard status`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output, rollouts_shown, watching
from rollguard.cli.commands.rollbacks import versions_of
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.table import Screen, Table
from rollguard.errors import StoreUnavailable
from rollguard.model.formatting import NOTHING, ago, drop_points, duration

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.model.in_flight import CallInFlight
    from rollguard.model.rollback import Rollback

_COLUMNS = ("Session>", "Tool", "Version>", "Watched>", "Drop>", "Verdict", "Checked>")
_IN_FLIGHT = ("Running", "Version>", "For>", "Where~")
_ROLLBACKS = ("Rolled back>", "Tool", "Versions", "State", "Reason~")
_DAY = timedelta(days=1)
_MOST_HELD = 5


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="S", help="Seconds between two refreshes, for --watch.")
    ] = 5.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what is monitored and by whom, the last day's rollbacks, files held back, and calls that do not end."""
    if watch and as_json:
        raise typer.BadParameter("--watch is for people; for programs, call 'rollguard status --json' repeatedly")
    with opened(config, adopt=False) as guard:
        if as_json:
            output.emit_json(_as_json(guard))
        elif watch:
            _refresh(guard, interval)
        else:
            output.show(*_now(guard))


def _as_json(guard: Rollguard) -> dict[str, Any]:
    store = guard.store
    creeping = store.sessions.creeping()
    return {
        **watching.as_json(store.watchers.watching(), watching.interval_of(guard)),
        "sessions": [row | {"creeping": creeping.get(row["session_id"])} for row in _rows(guard)],
        "rollouts": [rollouts_shown.as_json(store, rollout) for rollout in store.rollouts.open()],
        "silent": store.reports.silent(),
        "in_flight": [call.to_dict() for call in store.in_flight.all()],
        "rollbacks": store.rollbacks.recent(since=datetime.now(UTC) - _DAY),
        "held_back": _held_back(guard),
    }


def _rows(guard: Rollguard) -> list[dict[str, Any]]:
    return guard.store.reports.active_monitoring()


def _held_back(guard: Rollguard) -> list[str]:
    """Return of which files the code is not served, or not what is recorded, and why."""
    from rollguard.cli.held_back import held_back

    return [finding.says for finding in held_back(guard.settings, guard.store, unchanged=False)]


def _refresh(guard: Rollguard, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    screen = Screen.stdout()
    try:
        if screen.width is None:
            while True:
                output.show(*_now(guard))
                time.sleep(interval)
        console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)

        def view() -> Text:
            now = Screen.stdout()  # the window may have another size by now
            return Text.from_ansi(output.shown(_now_or_error(guard), now), no_wrap=True)

        with Live(view(), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(view(), refresh=True)
    except KeyboardInterrupt:
        return


def _now_or_error(guard: Rollguard) -> list[output.Part]:
    try:
        return _now(guard)
    except StoreUnavailable as error:  # it may come back; the view stays open
        return [f"{error}; trying again"]


def _now(guard: Rollguard) -> list[output.Part]:
    store, now = guard.store, datetime.now(UTC)
    parts = _monitored(guard, now)
    rollouts = store.rollouts.open()
    if rollouts:
        parts += ["", rollouts_shown.rollouts_table(store, rollouts)]
    for silent in store.reports.silent():
        last = ago(silent["silent_since"], now)
        parts += ["", f"{silent['tool_name']}: nobody calls it any more; the last call was {last}."]
    rollbacks = store.rollbacks.recent(since=now - _DAY)
    if rollbacks:
        parts += ["", Table(_ROLLBACKS, [_rollback(rollback, now) for rollback in rollbacks])]
    held = _held_back(guard)
    if held:
        parts += ["", output.alarm("Held back")]
        parts += [*(f"  • {text}" for text in held[:_MOST_HELD])]
        parts += [f"  … and {len(held) - _MOST_HELD} more; see: rollguard doctor"] if len(held) > _MOST_HELD else []
    running = store.in_flight.all()
    if running:
        parts += ["", Table(_IN_FLIGHT, [_running(call, now) for call in running])]
    who = watching.shown(store.watchers.watching(), watching.interval_of(guard), now)
    return [*parts, *([""] if who else []), *who]


def _monitored(guard: Rollguard, now: datetime) -> list[output.Part]:
    rows = _rows(guard)
    if not rows:
        return ["No deployment is monitored. Deploy one with: rollguard deploy FILE"]
    parts: list[output.Part] = [Table(_COLUMNS, [_row(row, now) for row in rows])]
    warning = _overdue(rows, now, guard.settings.watch.check_interval_seconds)
    parts += ["", warning] if warning else []
    names = {row["session_id"]: row["tool_name"] for row in rows}
    for number, text in guard.store.sessions.creeping().items():
        parts += ["", f"{names[number]}: {text}"] if number in names else []
    return parts


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


def _rollback(rollback: Rollback, now: datetime) -> tuple[object, ...]:
    when = ago(rollback.rollback_time, now)
    return when, rollback.tool_name, versions_of(rollback), rollback.state, rollback.error or rollback.reason


def _running(call: CallInFlight, now: datetime) -> tuple[object, ...]:
    place = f"{call.host}, process {call.pid}" + (", gone?" if call.lost else "")
    return call.tool_name, call.version_number, duration(max(timedelta(), now - call.began_at)), place


def _overdue(rows: list[dict[str, Any]], now: datetime, interval: float) -> str | None:
    """Return a warning if checks are overdue."""
    late = now - timedelta(seconds=2 * interval)
    missed = [row for row in rows if (row["latest_check_at"] or row["monitoring_started_at"]) < late]
    if not missed:
        return None
    were = "was" if len(missed) == 1 else "were"
    which = f"{len(missed)} of {len(rows)} sessions {were}" if len(rows) > 1 else "The session was"
    return f"{which} not checked for more than {duration(2 * timedelta(seconds=interval))}."
