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
from typing import Any

from rollguard.cli.table import ALARM, BOLD, DIFF_STYLES, Screen, Styled, Table, wrapped
from rollguard.model.text import one_line, printable

Part = str | Styled | Table


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
    """Write a list, each text on one line; at a terminal the lines of a long one stand below each other."""
    width = Screen.stdout().width
    for text in texts:
        first, *more = [one_line(text)] if width is None else wrapped(one_line(text), max(20, width - 4))
        _emit("".join([f"  • {first}\n", *(f"    {line}\n" for line in more)]))


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


def show(*parts: Part) -> None:
    """Write tables for people, and texts, each neutralised as one line."""
    _emit(shown(parts, Screen.stdout()))


def shown(parts: Iterable[Part], screen: Screen) -> str:
    """Return tables and texts as they are shown there."""
    found = ""
    for part in parts:
        lines_of = Styled(part) if isinstance(part, str) else part
        found += "".join(f"{line}\n" for line in lines_of.lines(screen))
    return found


def diff(text: str) -> None:
    """Write a unified diff without wrapping its lines; in colour at a terminal."""
    screen = Screen.stdout()
    every = ["\t".join(map(printable, line.split("\t"))) for line in text.removesuffix("\n").split("\n")]
    styles = [BOLD, BOLD, *(DIFF_STYLES.get(line[:1], "") for line in every[2:])]
    _emit("".join(f"{screen.styled(line, style)}\n" for line, style in zip(every, styles, strict=True)))


def alarm(text: str) -> Styled:
    """Return a line that people must not overlook."""
    return Styled(text, ALARM)


def heading(text: str) -> Styled:
    """Return the heading of a part."""
    return Styled(text, BOLD)


def listing(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str, title: str | None = None
) -> None:
    """Show a table, or the text `nothing` if it would be empty."""
    if rows:
        show(Table(columns, rows, title))
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
