"""Print at the end what the store recorded, and where to find it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from sqlalchemy import make_url

from examples.demo.board import Board
from examples.demo.frame import marks, percent
from examples.demo.story import Ending
from examples.demo.workspace import CHANGED, Workspace

_ROLLBACK = (
    "rollback_time", "from_version", "to_version", "success_rate_drop", "regression_severity", "rollback_successful",
)  # fmt: skip
_VIEWS: dict[str, tuple[str, ...]] = {
    "active_monitoring": (
        "session_id", "tool_name", "hours_elapsed", "regression_detected", "latest_success_rate_drop",
    ),
    "tool_health_history": (
        "checked_at", "baseline_success_rate", "current_success_rate", "current_total_executions",
        "success_rate_drop", "verdict",
    ),
    "deployment_stability": (
        "tool_name", "total_deployments", "rollback_rate", "avg_hours_to_rollback", "avg_post_deployment_success_rate",
    ),
}  # fmt: skip


def print_books(console: Console, board: Board, ending: Ending) -> None:
    """Print the calls, the alert, the investigation, the rollback and the contract's views."""
    store, where = board.guard.store, f"WHERE tool_name = '{CHANGED}'"
    _heading(console, f"Every call of {CHANGED}, one mark each")
    _print_marks(console, marks(board.journal.of(CHANGED)))
    _print_alert(console, ending)
    _print_investigation(console, board)
    rollbacks = [asdict(rollback) for rollback in store.rollbacks.recent(tool_name=CHANGED)]
    _rows(console, f"deployment_rollbacks {where}", _ROLLBACK, rollbacks)
    _view(console, "tool_health_history", store.reports.tool_health_history(CHANGED), where)
    _view(console, "deployment_stability", store.reports.deployment_stability())
    _view(console, "active_monitoring", ending.watched, "(at the last check before the rollback)")
    if not store.reports.active_monitoring():
        _say(console, "It has no rows now: nothing is monitored any more.", "dim")


def print_work(console: Console, ending: Ending) -> None:
    """Print what the agent found out meanwhile."""
    _heading(console, "What the agent found out meanwhile")
    for finding in ending.findings:
        _say(console, finding)


def print_where(console: Console, workspace: Workspace) -> None:
    """Print the folder that holds everything, with commands that show it."""
    _heading(console, "Look for yourself")
    _say(console, str(workspace.folder), "cyan")
    for command in _commands(workspace):
        console.print(Text(f"  {shlex.join(command)}", "bold"), soft_wrap=True)  # one line, to be copied


def print_ending(console: Console, board: Board, ending: Ending) -> None:
    """Print the result in a few lines."""
    console.print()
    for problem in ending.problems:
        _say(console, f"FAILED: {problem}", "bold red", indent=0)
    if ending.problems or board.rollback is None:
        return
    rates = " → ".join(
        f"{percent(stretch.success_rate)} of {stretch.total} (version {stretch.version})"
        for stretch in board.journal.stretches(CHANGED)
    )
    _say(console, f"Rolled back by itself. {CHANGED}: {rates}", "bold green", indent=0)
    _say(
        console,
        f"{len(board.journal.calls)} calls made and recorded; {ending.recovered} of {ending.retried} tasks that "
        "version 2 broke work again.",
        indent=0,
    )


def _commands(workspace: Workspace) -> list[list[str]]:
    """Return commands that work on this machine."""
    rollguard = [_shortest(Path(sys.executable).parent / "rollguard"), "--config", str(workspace.config)]
    commands = [[*rollguard, "status"], [*rollguard, "rollbacks"], [*rollguard, "versions", CHANGED]]
    select = "SELECT checked_at, current_success_rate, success_rate_drop, verdict FROM tool_health_history"
    if workspace.database.startswith("sqlite:///"):
        file = workspace.database.removeprefix("sqlite:///")
        if shutil.which("sqlite3"):
            commands.append(["sqlite3", "-box", file, select])
        elif sys.version_info >= (3, 12):
            commands.append([_shortest(Path(sys.executable)), "-m", "sqlite3", file, select])
    elif shutil.which("psql") and make_url(workspace.database).password is None:  # do not show a password
        commands.append(["psql", workspace.database, "-c", select])
    return commands


def _print_marks(console: Console, text: Text) -> None:
    width = console.width - 4
    for start in range(0, len(text), width):
        console.print(Text("  ") + text[start : start + width], no_wrap=True)


def _print_alert(console: Console, ending: Ending) -> None:
    _heading(console, "The alert")
    for alert in ending.alerts:
        _say(console, f"{alert['level']}: {alert['title']}", "bold red")
        for reason in alert["reasons"]:
            _say(console, reason)


def _print_investigation(console: Console, board: Board) -> None:
    found = (board.rollback.investigation if board.rollback else None) or {"signatures": []}
    _heading(console, "The investigation: deployment_rollbacks.investigation")
    for entry in found["signatures"]:
        before = "never" if entry["new"] else f"{entry['count_before']}x"
        counts = f"{entry['count']}x since, {before} before: "
        _say(console, Text.assemble((counts, "red" if entry["new"] else "yellow"), entry["signature"]))
        for sample in entry["samples"][:1]:
            _say(console, f"such as {sample['error']}", "dim", indent=6)
            _say(console, f"called with {sample['parameters']}", "dim", indent=6)


def _say(console: Console, text: str | Text, style: str = "", *, indent: int = 2) -> None:
    """Print a paragraph: wrapped for a person at a terminal, in one line for a program behind a pipe."""
    paragraph = Text(text, style) if isinstance(text, str) else text
    if console.is_terminal:
        console.print(Padding(paragraph, (0, 0, 0, indent)))
    else:
        console.print(Text(" " * indent) + paragraph, soft_wrap=True)


def _view(console: Console, name: str, rows: Sequence[Mapping[str, Any]], more: str = "") -> None:
    _rows(console, f"{name} {more}".strip(), _VIEWS[name], rows)


def _rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    _heading(console, f"SELECT … FROM {title}")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bright_black")
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    for number, column in enumerate(columns):
        table.add_column(_broken(column, max([10, *(len(row[number]) for row in cells)])), no_wrap=True)
    for row in cells:
        table.add_row(*row)
    console.print(Padding(table, (0, 0, 0, 2)))


def _broken(name: str, width: int) -> str:
    """Return a column's name, broken into as many lines as it needs."""
    lines = [""]
    for part in re.findall(r"[^_]+_?", name):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _heading(console: Console, text: str) -> None:
    console.print()
    _say(console, text, "bold cyan", indent=0)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%H:%M:%S.%f}"[:-3] + "Z"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or value >= 0.001 else f"{value:.1e}"
    return "NULL" if value is None else str(value)


def _shortest(path: Path) -> str:
    """Return the path relative to the working folder, if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
