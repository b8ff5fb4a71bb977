"""Show the board: a live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from examples.demo.board import Board, Event
from examples.demo.frame import COLOURS, Frame, outcome

PROGRESS_EVERY = 60


class Screen(Protocol):
    """Shows the board as it is at this moment."""

    def draw(self, board: Board) -> None:
        """Show it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class LiveScreen:
    """The whole terminal, drawn again and again."""

    def __init__(self, console: Console, frame: Callable[[Any], Any] = Frame) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._frame = frame

    def draw(self, board: Board) -> None:
        """Show the board as it is."""
        self._live.update(self._frame(board), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Give the terminal back."""
        self._live.stop()


class PlainScreen:
    """A line for everything that happens, for a pipe or a build log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._calls = 0
        self._events = 0

    def draw(self, board: Board) -> None:
        """Print what is new since the last time."""
        calls, events = board.journal.calls, board.events
        lines = [(event.at, _event_line(event)) for event in events[self._events :]]
        for number, call in enumerate(calls[self._calls :], start=self._calls + 1):
            if board.session_id is not None and not call.success:
                failure = f"   ✗ {call.tool} version {call.version}  {call.about}: {outcome(call)}"
                lines.append((call.at, Text(failure, "red")))
            if number % PROGRESS_EVERY == 0:
                failed = sum(not one.success for one in calls[:number])
                lines.append((call.at, Text(f"   {number} calls recorded, {failed} of them failed", "dim")))
        for _, line in sorted(lines, key=lambda line: line[0]):
            self._console.print(line, soft_wrap=True)
        self._calls, self._events = len(calls), len(events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing to put back."""


def _event_line(event: Event) -> Text:
    if event.kind == "chapter":
        return Text(f"\n{event.text}", COLOURS[event.kind])
    return Text(f"   {event.at.astimezone():%H:%M:%S} {event.text}", COLOURS[event.kind])
