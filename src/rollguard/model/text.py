"""Neutralise text from outside, such as reasons, notes, errors, results and names, before people see it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with everything escaped that could control a terminal or reorder its text; newlines stay.

    These are the control characters (also those above 127), bidirectional controls, and separators of lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Return the text as `printable` does, with newlines escaped too: it can be no other line than its own."""
    return printable(text).replace("\n", "\\n")
