"""One frame of the live screen: lanes of calls, the latest calls, what Rollguard sees, and the log."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.board import CHAPTERS, Board
from examples.demo.journal import Call, Stretch
from examples.demo.workspace import CHANGED

COLOURS = {
    "chapter": "bold",
    "note": "default",
    "deploy": "bold yellow",
    "check": "cyan",
    "bad": "bold red",
    "alert": "bold white on red",
    "good": "bold green",
}
_VERSIONS = ("green", "yellow", "magenta")  # of the marks of version 1, 2, ...
_BORDER = "bright_black"


class Frame:
    """The board, laid out for however large the terminal is (80 x 24 and up)."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        layout = Layout()
        log = max(6, (height - 7) * 2 // 5)
        layout.split_column(
            Layout(header(self._board), name="header", size=2),
            Layout(lanes(self._board, width), name="lanes", size=5),
            Layout(name="middle"),
            Layout(_panel(_log(self._board, log - 2), "What happened"), name="log", size=log),
        )
        middle = height - 7 - log
        right = max(38, min(60, width * 45 // 100))
        layout["middle"].split_row(
            Layout(_panel(_latest(self._board, middle - 2, width - right), "The agent's calls")),
            Layout(self._right(middle), size=right),
        )
        yield layout

    def _right(self, height: int) -> RenderableType:
        board = self._board
        seen = _panel(what_it_sees(board), "What Rollguard sees")
        if board.rollback is None:
            return seen
        found = _panel(investigation(board), "Investigation")
        if height < 17:
            return found
        both = Layout()
        both.split_column(Layout(seen, size=9), Layout(found))
        return both


def header(board: Board) -> RenderableType:
    """Where in the story we are, and what is going on."""
    steps = Text("Rollguard ", "bold")
    for number, name in enumerate(CHAPTERS):
        style = "bold reverse" if number == board.chapter else "green" if number < board.chapter else "bright_black"
        steps.append(f" {number + 1} {name} ", style)
    seconds = int(time.monotonic() - board.began)
    clock = Text(f"{seconds // 60}:{seconds % 60:02d} ", "bright_black")
    top = Table.grid(expand=True)
    top.add_column(no_wrap=True)
    top.add_column(justify="right", no_wrap=True)
    top.add_row(steps, clock)
    return Group(top, _one_line(Text(board.says, "italic")))


def lanes(board: Board, width: int) -> Panel:
    """A lane of marks for each tool, with the success rate under each version that served it."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    rates = {tool: _rates(board.journal.stretches(tool)) for tool in board.tools}
    room = width - 4 - 16 - 1 - 3 - 1 - 1 - max(text.cell_len for text in rates.values())
    for tool in board.tools:
        live = board.live.get(tool)
        grid.add_row(
            Text(tool.ljust(16), "bold" if tool == CHANGED else "default"),
            Text(f"v{live}".ljust(3) if live else "   ", _colour(live)),
            marks(board.journal.of(tool))[-room:],
            rates[tool],
        )
    total = len(board.journal.calls)
    return _panel(grid, f"Every call, as the store has it ({total} calls)")


def marks(calls: list[Call]) -> Text:
    """Return the calls, one mark each; at a change of version, its number."""
    parts: list[tuple[str, str]] = []
    before: int | None = calls[0].version if calls else None
    for call in calls:
        if call.version != before:
            before = call.version
            parts += [(c, f"bold reverse {_colour(before)}") for c in f" v{before} "]
        parts.append(("●", _colour(call.version)) if call.success else ("✗", "bold red"))
    return Text.assemble(*parts)


def _rates(stretches: list[Stretch]) -> Text:
    """95.0 › 69.2 › 96.4 %: one for each version, in the order they served."""
    shown = Text()
    for number, stretch in enumerate(stretches):
        if number:
            shown.append(" › ", "bright_black")
        shown.append(f"{stretch.success_rate * 100:.1f}", f"bold {_colour(stretch.version)}")
    return shown.append(" %", "bright_black") if shown else shown


def _latest(board: Board, rows: int, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    for fixed in (1, 19, 22) if width >= 72 else (1, 22):
        grid.add_column(no_wrap=True, overflow="ellipsis", width=fixed)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for call in board.journal.calls[-max(rows, 1) :][::-1]:
        mark = Text("●", _colour(call.version)) if call.success else Text("✗", "bold red")
        style = "default" if call.success else "red"
        cells = [mark, Text(call.about, style), Text(outcome(call), style if not call.success else "bright_black")]
        if width >= 72:
            cells.insert(1, Text(f"{call.tool} v{call.version}", style))
        grid.add_row(*cells)
    return grid


def outcome(call: Call) -> str:
    """What came out of the call, in a few words."""
    found = call.result
    if not call.success or not isinstance(found, dict):
        return call.error
    if call.tool == "invoice_total":
        return f"{found['currency']} {float(found['total']):,.2f}"
    if call.tool == "log_summary":
        return f"{found['requests']} requests, {found['server_errors']} errors"
    return f"{len(found['outline'])} headings, broken links: {len(found['broken_links'])}"


def what_it_sees(board: Board) -> RenderableType:
    """The latest check, as the view `tool_health_history` has it."""
    if board.session_id is None:
        return Text(
            "No deployment is monitored.\nEvery call is recorded: these are\nthe baseline of the next one.", "dim"
        )
    if not board.checks:
        return Text(f"Session {board.session_id} has begun.")
    check = board.checks[0]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row("session", f"{check['session_id']} of {check['tool_name']}")
    grid.add_row("check", f"number {len(board.checks)}")
    for name, key in (("before", "baseline"), ("since", "current")):
        grid.add_row(name, _bar(check[f"{key}_success_rate"], check[f"{key}_total_executions"]))
    drop = check["success_rate_drop"]
    threshold = board.guard.monitor.rules.regression_threshold
    grid.add_row("drop", "-" if drop is None else f"{drop * 100:.1f} points (limit {threshold * 100:.0f})")
    grid.add_row("verdict", _verdict(check))
    return grid


def _bar(rate: float | None, total: int) -> Text:
    if rate is None:
        return Text("no calls yet", "dim")
    full = round(rate * 10)
    return Text.assemble(
        ("━" * full, "green"), ("━" * (10 - full), "red"), f" {percent(rate)}", (f" of {total}", "bright_black")
    )


def _verdict(check: dict[str, Any]) -> Text:
    words = str(check["verdict"]).replace("_", " ")
    if check["regression_detected"]:
        return Text(f"{words}, {check['regression_severity']}", "bold red")
    return Text(words, "green" if check["verdict"] == "healthy" else "yellow")


def investigation(board: Board) -> RenderableType:
    """What fails since the deployment against before, as it is kept with the rollback."""
    found = (board.rollback.investigation if board.rollback else None) or {"signatures": []}
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, justify="right", width=3)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for entry in found["signatures"]:
        if entry["count"] == 0:  # known from before, and not seen since
            continue
        before = "new" if entry["new"] else f"{entry['count_before']}x before"
        sample = Path(json.loads(entry["samples"][0]["parameters"])["file"]).name
        grid.add_row(
            Text(f"{entry['count']}x", "bold red" if entry["new"] else "yellow"),
            Text.assemble((before, "bold red" if entry["new"] else "dim"), (f"  {sample}", "bright_black")),
        )
        grid.add_row("", entry["signature"])
    return grid


def _log(board: Board, rows: int) -> RenderableType:
    lines = [
        _one_line(
            Text.assemble((f"{event.at.astimezone():%H:%M:%S} ", "bright_black"), (event.text, COLOURS[event.kind]))
        )
        for event in board.events
        if event.kind != "chapter"  # the header shows it
    ]
    return Group(*lines[-max(rows, 1) :])


def percent(share: float) -> str:
    """0.692 → '69.2 %'."""
    return f"{share * 100:.1f} %"


def _colour(version: int | None) -> str:
    return _VERSIONS[(version or 1) - 1] if (version or 1) <= len(_VERSIONS) else "cyan"


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _panel(inside: RenderableType, title: str) -> Panel:
    return Panel(inside, title=f"[bold]{title}", title_align="left", border_style=_BORDER, padding=(0, 1))
