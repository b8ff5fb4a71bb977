"""Watch a bad deployment being found and rolled back: `python -m examples.demo`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.demo import books
from examples.demo.screen import LiveScreen, PlainScreen, Screen
from examples.demo.story import BRISK, FAST, FOLLOWED, Story
from examples.demo.svg import Pictured
from examples.demo.workspace import CANDIDATE, CannotStart, make_workspace
from rollguard import RollguardError

OK, NOT_ROLLED_BACK, CANNOT_START, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0 only when the bad version was rolled back and all of it is in the store."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, Console())
    except KeyboardInterrupt:
        print("\nStopped.")
        return INTERRUPTED
    except RollguardError as error:
        print(f"The demo stopped: {error}", file=sys.stderr)
        return NOT_ROLLED_BACK


def _run(options: argparse.Namespace, console: Console) -> int:
    live = console.is_terminal and not console.is_dumb_terminal
    screen: Screen = LiveScreen(console) if live else PlainScreen(console)
    if options.svg:
        screen = Pictured(screen, options.svg)
    tempo = FAST if options.fast else FOLLOWED if live else BRISK
    try:
        candidate = options.candidate.resolve(strict=True)
        workspace = make_workspace(options.keep, options.database)
        guard = workspace.open()
    except (CannotStart, RollguardError, OSError) as error:
        print(f"The demo cannot start: {error}", file=sys.stderr)
        return CANNOT_START
    with guard:
        story = Story(workspace, guard, screen, tempo, candidate)
        with screen:
            ending = asyncio.run(story.tell())
        books.print_books(console, story.board, ending)
        books.print_work(console, ending)
        books.print_where(console, workspace)
        books.print_ending(console, story.board, ending)
    return NOT_ROLLED_BACK if ending.problems else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="no pauses: the same story in a few seconds")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this empty folder, not a temporary one")
    parser.add_argument("--database", metavar="URL", help="use this empty database, postgresql://… or sqlite:///…")
    parser.add_argument("--candidate", type=Path, default=CANDIDATE, metavar="FILE", help="deploy this as version 2")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="save the last screen as a picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
