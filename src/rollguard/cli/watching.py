"""Show who watches: the running loops, and a warning if there is none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollguard.cli import output
from rollguard.cli.table import Table
from rollguard.model.formatting import NOTHING, ago, duration, moment
from rollguard.model.watcher import Coverage, Watcher, WatcherState, Watching

if TYPE_CHECKING:
    from rollguard.app import Rollguard

NOBODY = "Nobody watches: nothing is checked or rolled back. Start: rollguard watch"


def warning(watching: Watching, interval: timedelta) -> str | None:
    """Return what is to be said if no watcher runs although sessions are active; else None."""
    coverage = watching.coverage(interval)
    if coverage is Coverage.NOBODY:
        return NOBODY
    if coverage is Coverage.SINGLE_CYCLES:
        return f"No watcher is running. The last check was {ago(watching.last_check, watching.as_of)}."
    return None


def shown(watching: Watching, interval: timedelta, now: datetime) -> list[output.Part]:
    """Return who watches: the watchers as a table, or a warning; nothing if there is nothing to watch."""
    said = warning(watching, interval)
    parts: list[output.Part] = [] if said is None else [output.alarm(said) if said == NOBODY else said]
    if watching.watchers:
        columns = ("Watcher", "Process>", "Since", "Every>", "Latest cycle>", "State")
        rows = [_row(watcher, now) for watcher in watching.watchers]
        parts += [*([""] if parts else []), Table(columns, rows)]
    return parts


def says(watcher: Watcher) -> str:
    """Return one sentence about a watcher."""
    name = f"the watcher on {watcher.host}, process {watcher.pid},"
    if watcher.state is WatcherState.SILENT:
        return f"{name} is silent for {duration(watcher.silent_for)}"
    if watcher.state is WatcherState.BEHIND:
        return f"{name} is behind: its next cycle is {duration(watcher.behind)} late"
    cycle = "no cycle has ended yet" if watcher.checked_at is None else f"its latest cycle ended {_cycle(watcher)}"
    return f"{name} runs for {duration(watcher.as_of - watcher.started_at)}, {cycle}"


def as_json(watching: Watching, interval: timedelta) -> dict[str, Any]:
    """Return the watchers and the coverage for programs."""
    return {
        "coverage": watching.coverage(interval),
        "watchers": [
            {
                **output.record(watcher, "reported_at"),
                "state": watcher.state,
                "behind_seconds": watcher.behind.total_seconds(),
            }
            for watcher in watching.watchers
        ],
    }


def interval_of(guard: Rollguard) -> timedelta:
    """Return the interval of the settings."""
    return timedelta(seconds=guard.settings.watch.check_interval_seconds)


def _row(watcher: Watcher, now: datetime) -> tuple[object, ...]:
    every = duration(timedelta(seconds=watcher.interval_seconds))
    return watcher.host, watcher.pid, moment(watcher.started_at, now), every, _cycle(watcher), watcher.state


def _cycle(watcher: Watcher) -> str:
    return NOTHING if watcher.checked_at is None else ago(watcher.checked_at, watcher.as_of)
