"""document_outline: the outline of a Markdown document, and the links in it that lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)")
_FENCE = re.compile(r"\s*(```|~~~)")
_WORD = re.compile(r"\b\w[\w'-]*")
_WORDS_A_MINUTE = 200


class DocumentError(ValueError):
    """The file is not a Markdown document that can be read."""


def document_outline(file: str) -> dict[str, Any]:
    """Outline a Markdown document and check its links.

    Args:
        file: a Markdown file in UTF-8. Links to other files are looked for beside it.

    Returns:
        title, outline (a list of [level, heading]), words, minutes (to read it) and broken_links: those to headings
        that are not in the document and to files that are not there.

    Raises:
        DocumentError: the file is not UTF-8, or has no heading.
    """
    path = Path(file)
    try:
        prose = _without_code(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}") from error
    outline = [[len(match[1]), match[2]] for line in prose if (match := _HEADING.match(line))]
    if not outline:
        raise DocumentError("there is no heading in the document")
    anchors = {_anchor(str(heading)) for _, heading in outline}
    words = sum(len(_WORD.findall(line)) for line in prose)
    return {
        "title": outline[0][1],
        "outline": outline,
        "words": words,
        "minutes": max(1, round(words / _WORDS_A_MINUTE)),
        "broken_links": [
            target for line in prose for target in _LINK.findall(line) if not _leads(target, anchors, path.parent)
        ],
    }


def _without_code(text: str) -> list[str]:
    """The lines outside fenced blocks: a comment in a script is no heading."""
    lines, fenced = [], False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            lines.append(line)
    return lines


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _leads(target: str, anchors: set[str], folder: Path) -> bool:
    """Whether a link leads somewhere. Addresses on the web are taken at their word."""
    if "://" in target or target.startswith("mailto:"):
        return True
    if target.startswith("#"):
        return target[1:] in anchors
    return (folder / target.partition("#")[0]).is_file()
