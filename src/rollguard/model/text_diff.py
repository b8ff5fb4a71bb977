"""Compute the unified diff of two files. Pure."""

from __future__ import annotations

import difflib
from typing import NamedTuple

_NO_NEW_LINE = "\\ No newline at end of file\n"


class Diff(NamedTuple):
    """A unified diff, and the number of lines that it adds and removes."""

    text: str
    added: int
    removed: int


def unified_diff(before: bytes, after: bytes, before_name: str, after_name: str, context: int = 3) -> Diff:
    """Return the diff of two files. It shows every byte that differs: bytes that are not UTF-8 appear as escapes."""
    old, new = _lines(before), _lines(after)
    found = list(difflib.unified_diff(old, new, before_name, after_name, n=context))
    changed = found[2:]  # without the two file names
    text = "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEW_LINE}" for line in found)
    return Diff(text, sum(line[0] == "+" for line in changed), sum(line[0] == "-" for line in changed))


def _lines(content: bytes) -> list[str]:
    """Split into lines as editors do: only a line feed ends a line."""
    lines = content.decode("utf-8", "backslashreplace").split("\n")
    return [*(f"{line}\n" for line in lines[:-1]), *lines[-1:]] if lines[-1] else [f"{line}\n" for line in lines[:-1]]
