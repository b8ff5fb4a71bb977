"""Write to stdout: JSON for programs, text and tables for people. Nothing else in `cli` writes to it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollguard.cli.formatting import NOTHING
from rollguard.model.text import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

# The colours of values that people should see at once.
_STYLES = {
    "regressed": "bold red",
    "critical": "bold red",
    "rolled_back": "red",
    "failed": "red",
    "error": "red",
    "high": "red",
    "medium": "yellow",
    "insufficient_data": "yellow",
    "unproven": "yellow",
    "healthy": "green",
    "live": "bold green",
    "active": "cyan",
    "observed": "yellow",
    "capped": "red",
    "watching": "green",
    "behind": "yellow",
    "silent": "red",
}

_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class ReaderGone(Exception):
    """The reader of stdout closed it, as `| head` does."""


def never_fail_on_characters() -> None:
    """Escape characters that the terminal cannot show, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def lines(*texts: str) -> None:
    """Write each text as one line, neutralised: see `rollguard.model.text`."""
    _emit("".join(f"{one_line(text)}\n" for text in texts))


def bullets(texts: Iterable[str]) -> None:
    """Write a list, each text on one line."""
    lines(*(f"  • {text}" for text in texts))


def code(content: bytes) -> None:
    """Write code for people: its lines and tabs stay, everything else that could control a terminal is escaped."""
    text = printable(content.decode("utf-8", "backslashreplace").replace("\t", "    "))
    _emit(text if text.endswith("\n") else f"{text}\n")


def emit_json_lines(value: Any) -> None:
    """Write a value as JSON for people: text stays readable, and what could control a terminal is its JSON escape."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)
    _emit(f"{text}\n")


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def _emit(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        raise ReaderGone from None


def emit_bytes(content: bytes) -> None:
    """Write bytes to stdout as they are; at a terminal, as `code` does."""
    if sys.stdout.isatty():
        code(content)
        return
    flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _forget_stdout()
        raise ReaderGone from None


def flush() -> None:
    """Write what stdout still buffers."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        raise ReaderGone from None


def emit_json(value: Any) -> None:
    """Write one JSON document. Times are ISO 8601. It is plain ASCII, so any encoding can write it."""
    _emit(json.dumps(value, indent=2, default=_plain).replace("\x7f", "\\u007f") + "\n")


def record(value: Any, *without: str) -> dict[str, Any]:
    """Return a dataclass as a mapping, without the named fields."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in without}


def show(*renderables: RenderableType) -> None:
    """Write tables for people, and texts, each neutralised as one line."""
    console = stdout_console()
    with console.capture() as captured:
        console.print(*(one_line(r) if isinstance(r, str) else r for r in renderables), sep="\n")
    text = captured.get()
    if not console.is_terminal:  # a file does not need the padding of a table's cells
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    _emit(text)


def diff(text: str) -> None:
    """Write a unified diff without wrapping its lines; in colour at a terminal."""
    from rich.text import Text

    shown = ["\t".join(map(printable, line.split("\t"))) for line in text.removesuffix("\n").split("\n")]
    console = stdout_console()
    if not console.is_terminal:
        _emit("".join(f"{line}\n" for line in shown))
        return
    styles = ["bold", "bold", *(_DIFF_STYLES.get(line[:1], "") for line in shown[2:])]
    with console.capture() as captured:
        for line, style in zip(shown, styles, strict=True):
            console.print(Text(line, style=style), soft_wrap=True)
    _emit(captured.get())


def stdout_console() -> Console:
    """Return a console on stdout that reads no markup in text."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> Table:
    """Return a table. A column named `x>` is aligned right; the text of one named `x~` wraps if it is too long."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else Text(one_line(title), style="bold"),
        title_justify="left",
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for column in columns:
        made.add_column(
            column.rstrip(">~"),
            justify="right" if column.endswith(">") else "left",
            overflow="fold",
            no_wrap=not column.endswith("~"),
        )
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def cell(value: object, alarming: object = None) -> RenderableType:
    """Return a value as the text of a table cell, never read as markup; in red if it is the alarming one."""
    from rich.text import Text

    text = NOTHING if value is None else one_line(str(value))
    return Text(text, style="bold red" if value is not None and value == alarming else _STYLES.get(text, ""))


def listing(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str, title: str | None = None
) -> None:
    """Show a table, or the text `nothing` if it would be empty."""
    if rows:
        show(table(columns, rows, title=title))
    else:
        lines(nothing)


def note(text: str) -> None:
    """Write a line for people to stderr."""
    print(one_line(text), file=sys.stderr)


@contextlib.contextmanager
def tools_print_to_stderr() -> Iterator[None]:
    """Send what tools print to stderr: stdout is for the command's own result."""
    real = sys.stdout is sys.__stdout__ and sys.stdout is not None and sys.stderr is sys.__stderr__
    kept = None
    if real:
        sys.stdout.flush()
        with contextlib.suppress(OSError):
            kept = os.dup(1)
            os.dup2(2, 1)  # programs that a tool starts write to the file descriptor
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _forget_stdout() -> None:
    """Send further output to nowhere, also what the interpreter flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return record(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
