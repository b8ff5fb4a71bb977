"""Lay out tables: at a terminal they fit its width, with a sign where text is cut; elsewhere nothing is cut."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rollguard.model.formatting import NOTHING
from rollguard.model.text import one_line

CUT = "…"
BOLD = "1"
ALARM = "1;31"
_RED, _GREEN, _YELLOW, _CYAN = "31", "32", "33", "36"

# The colours of values that people should see at once, as the numbers of ECMA-48.
_STYLES = {
    "regressed": ALARM,
    "critical": ALARM,
    "rolled_back": _RED,
    "rolled back": _RED,
    "failed": _RED,
    "failure": _RED,
    "error": _RED,
    "high": _RED,
    "medium": _YELLOW,
    "insufficient_data": _YELLOW,
    "unproven": _YELLOW,
    "healthy": _GREEN,
    "live": "1;32",
    "active": _CYAN,
    "observed": _YELLOW,
    "capped": _RED,
    "watching": _GREEN,
    "behind": _YELLOW,
    "silent": _RED,
}
DIFF_STYLES = {"+": _GREEN, "-": _RED, "@": _CYAN}

_GAP = "  "
_MOST_LINES = 6  # of a text in a cell
_LEAST_TEXT, _LEAST = (24, 12), 6  # the columns that a text, and anything else, keeps


@dataclass(frozen=True, slots=True)
class Screen:
    """Where output goes.

    Attributes:
        width: the columns of the terminal; None for a file or a pipe.
        colour: whether it shows colours.
    """

    width: int | None = None
    colour: bool = False

    @classmethod
    def stdout(cls) -> Screen:
        """Return what stdout is; `FORCE_COLOR`, `NO_COLOR`, `TERM` and `COLUMNS` are respected."""
        if not (os.environ.get("FORCE_COLOR") or sys.stdout.isatty()):
            return cls()
        colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")
        return cls(shutil.get_terminal_size().columns, colour)

    def styled(self, text: str, style: str) -> str:
        """Return the text in a style, if colours are shown."""
        return f"\x1b[{style}m{text}\x1b[0m" if style and self.colour and text else text


@dataclass(frozen=True, slots=True)
class Styled:
    """One line of text in a style."""

    text: str
    style: str = ""

    def lines(self, screen: Screen) -> Iterator[str]:
        """Yield the line."""
        yield screen.styled(one_line(self.text), self.style)


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        columns: their names; `x>` is aligned right, and `x~` holds text: it is the first to give way, and wraps.
        rows: the values, as many in each as there are columns.
        title: a line above it.
        header: whether the names are shown.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str | None = None
    header: bool = True

    def lines(self, screen: Screen) -> Iterator[str]:
        """Yield the table's lines."""
        names = [one_line(column.rstrip(">~")) for column in self.columns]
        rows = [[_text(value) for value in row] for row in self.rows]
        measured = [*([names] if self.header else []), *rows]
        widths = [max(map(width_of, column), default=0) for column in zip(*measured, strict=True)]
        gap = _GAP
        if screen.width is not None and sum(widths) + len(widths) - 1 <= screen.width < self._width(widths):
            gap = " "
        elif screen.width is not None:
            widths = self._fitting(widths, screen.width)
        if self.title is not None:
            yield screen.styled(one_line(self.title), BOLD)
        if self.header:
            shown = [cut(name, width) for name, width in zip(names, widths, strict=True)]
            yield self._line(shown, widths, screen, [BOLD] * len(shown), gap)
            yield "─" * (sum(widths) + len(gap) * (len(widths) - 1))
        for row in rows:
            yield from self._row(row, widths, screen, gap)

    def _row(self, row: list[str], widths: list[int], screen: Screen, gap: str) -> Iterator[str]:
        styles = [_STYLES.get(text, "") for text in row]
        if screen.width is None or all(width_of(text) <= width for text, width in zip(row, widths, strict=True)):
            yield self._line(row, widths, screen, styles, gap)
            return
        cells = [
            wrapped(text, width, _MOST_LINES) if column.endswith("~") else [cut(text, width)]
            for text, width, column in zip(row, widths, self.columns, strict=True)
        ]
        for number in range(max(map(len, cells))):
            shown = [cell[number] if number < len(cell) else "" for cell in cells]
            yield self._line(shown, widths, screen, styles, gap)

    def _line(self, cells: list[str], widths: list[int], screen: Screen, styles: list[str], gap: str) -> str:
        shown = []
        for text, width, column, style in zip(cells, widths, self.columns, styles, strict=True):
            space, coloured = " " * (width - width_of(text)), screen.styled(text, style)
            shown.append(f"{space}{coloured}" if column.endswith(">") else f"{coloured}{space}")
        return gap.join(shown).rstrip()

    def _width(self, widths: list[int]) -> int:
        return sum(widths) + len(_GAP) * (len(widths) - 1)

    def _fitting(self, widths: list[int], width: int) -> list[int]:
        """Return the widths with which the table fits: texts give way first, the widest column first."""
        fitting = [min(one, width) for one in widths]
        room = width - self._width([0] * len(widths))
        for least, may in (*((least, "~") for least in _LEAST_TEXT), (_LEAST, "")):
            while sum(fitting) > room:
                shrinking = [i for i, name in enumerate(self.columns) if name.endswith(may) and fitting[i] > least]
                if not shrinking:
                    break
                fitting[max(shrinking, key=fitting.__getitem__)] -= 1
        return fitting


def wrapped(text: str, width: int, most: int | None = None) -> list[str]:
    """Return a text as lines of at most so many columns; more lines than `most` are cut, with a sign."""
    import textwrap

    if width_of(text) <= width:
        return [text]
    found = textwrap.wrap(text, width, break_on_hyphens=False) if width_of(text) == len(text) else _pieces(text, width)
    if most is not None and len(found) > most:
        found = [*found[: most - 1], cut(" ".join(found[most - 1 :]), width)]
    return found


def cut(text: str, width: int) -> str:
    """Return the text, or as much of its beginning as fits with the sign."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[:-1] if len(text) <= width else text[: width - 1]
    return f"{text}{CUT}"


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pieces(text: str, width: int) -> list[str]:
    """Cut a text with wide characters into pieces."""
    pieces = [""]
    for character in text:
        if width_of(pieces[-1]) + _columns(character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _text(value: object) -> str:
    return NOTHING if value is None else one_line(str(value))
