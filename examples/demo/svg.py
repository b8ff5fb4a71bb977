"""A screen that also keeps a picture of itself, for documentation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Self

from rich.console import Console

from examples.demo.board import CHAPTERS, Board
from examples.demo.frame import Frame
from examples.demo.screen import Screen

WIDTH, HEIGHT = 108, 34


class Pictured:
    """Saves the board as an SVG when the last chapter begins, and shows it on another screen all the time.

    Args:
        screen: the other screen.
        file: the file to write.
    """

    def __init__(self, screen: Screen, file: Path) -> None:
        self._screen = screen
        self._file = file
        self._saved = False

    def draw(self, board: Board) -> None:
        """Show the board; save it, once."""
        self._screen.draw(board)
        if board.chapter == len(CHAPTERS) - 1 and not self._saved:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
            console.print(Frame(board), height=HEIGHT)
            console.save_svg(str(self._file), title="make demo")
            self._saved = True

    def __enter__(self) -> Self:
        self._screen.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._screen.__exit__(*exception)
