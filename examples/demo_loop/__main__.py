"""Watch weak tools being repaired, and wrong repairs being stopped: `python -m examples.demo_loop`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.demo.journal import Journal
from examples.demo.screen import LiveScreen, PlainScreen
from examples.demo_loop.board import Board
from examples.demo_loop.frame import Frame
from examples.demo_loop.story import Story
from examples.demo_loop.workspace import TOOLS, CannotStart, Model, Workspace, make_workspace
from rollguard import Rollguard, RollguardError

OK, NOT_AS_PROMISED, CANNOT_START, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0 only when each repair ended as promised, and all of it is in the store."""
    options = _parser().parse_args(arguments)
    model = Model(options.model, options.base_url, options.key_env) if options.model else None
    console = Console()
    try:
        workspace = make_workspace(options.keep, model)
        guard = workspace.open(dict(os.environ))
    except (CannotStart, RollguardError, OSError) as error:
        print(f"The demo cannot start: {error}", file=sys.stderr)
        return CANNOT_START
    live = console.is_terminal and not console.is_dumb_terminal
    screen = LiveScreen(console, Frame) if live else PlainScreen(console)
    try:
        with guard:
            story = Story(workspace, guard, screen, Board(guard, Journal(guard.store, TOOLS)), fast=options.fast)
            with screen:
                ending = asyncio.run(story.tell())
            _print_books(console, guard, workspace)
    except KeyboardInterrupt:
        print("\nStopped.")
        return INTERRUPTED
    except RollguardError as error:
        print(f"The demo stopped: {error}", file=sys.stderr)
        return NOT_AS_PROMISED
    for problem in ending.problems:
        console.print(f"FAILED: {problem}", style="bold red", soft_wrap=True)
    return NOT_AS_PROMISED if ending.problems else OK


def _print_books(console: Console, guard: Rollguard, workspace: Workspace) -> None:
    """Print what the store holds: the attempts, the improver's record, the statistics, and where to look."""
    store = guard.store
    attempts = store.reports.improvement_history()[::-1]
    _rows(console, "improvement_history", ("attempt_id", "tool_name", "state", "why", "version_number"), attempts)
    _rows(console, "the causes that it named", ("attempt_id", "cause"), attempts)
    columns = ("author", "proposals", "deployed", "succeeded", "rolled_back", "success_rate")
    records = [{name: getattr(one, name) for name in columns} for one in store.attempts.track_records()]
    _rows(console, "how well the improver did", columns, records)
    _rows(console, "the loop's statistics", ("name", "total"), _pairs(guard.loop.statistics()))
    console.print("\nLook for yourself", style="bold")
    command = shutil.which("rollguard") or f"{sys.executable} -m rollguard"
    for words in ("proposals --all", "proposals show 1", "proposals show 3 --patch", "rollbacks"):
        console.print(
            f"  {command} --config {shlex.quote(str(workspace.config))} {words}", soft_wrap=True, highlight=False
        )


def _pairs(values: dict[str, int]) -> list[dict[str, object]]:
    return [{"name": name, "total": total} for name, total in values.items()]


def _rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.demo_loop", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="no pauses for people")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this empty folder, not a temporary one")
    parser.add_argument("--model", metavar="NAME", default="", help="ask a model, such as openai:gpt-5-mini")
    parser.add_argument("--base-url", metavar="URL", default="", help="an endpoint that speaks OpenAI's protocol")
    parser.add_argument("--key-env", metavar="NAME", default="", help="the variable that holds the endpoint's key")
    return parser


if __name__ == "__main__":
    sys.exit(main())
