"""Where a call failed: the innermost line of the tool's own code in a traceback, and the traceback's text."""

from __future__ import annotations

import json
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.sandbox.outcome import Frame

LONGEST = 8_192  # characters of a traceback
_LONGEST_TEXT = 500  # characters of a line, or of a function's name
_MOST_FRAMES = 30
_ROLLGUARD = str(Path(__file__).parent.parent) + "/"
_LIBRARIES = tuple(
    {f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")} | {"<frozen "}
)

Entry = tuple[str, str, int, TracebackType]
"""File, function and line of one frame, and the traceback from it inwards."""


def where_failed(error: BaseException) -> tuple[Frame | None, str | None]:
    """Return the innermost frame in the tool's own code, and the traceback without Rollguard's frames. Raise nothing.

    The tool's own code is the file of the first frame that is neither Rollguard's nor a library's.
    """
    try:
        entries = _outside(error.__traceback__)
        if not entries:
            return None, None
        text = "".join(
            traceback.format_exception(type(error), error, entries[0][-1], limit=-min(len(entries), _MOST_FRAMES))
        )
        return _own_frame(entries), text
    except (Exception, SystemExit):  # noqa: BLE001 - a tool's own exception may fail to describe itself
        return None, None


def frame_text(frame: object) -> str | None:
    """Return a frame as it is stored: JSON of its function, line and text.

    Args:
        frame: a `Frame`, a mapping with its fields, or the JSON of one.

    Raises:
        InvalidInput: it is none.
    """
    given: Any = asdict(frame) if isinstance(frame, Frame) else frame
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            given = None
    if not isinstance(given, Mapping) or set(given) != {"function", "line", "text"}:
        raise InvalidInput("failed_at: it is no place; give {'function': ..., 'line': ..., 'text': ...}")
    function, line, text = given["function"], given["line"], given["text"]
    if not isinstance(function, str) or not isinstance(text, str):
        raise InvalidInput("failed_at: function and text must be text")
    if isinstance(line, bool) or not isinstance(line, int) or not 0 < line < 2**31:
        raise InvalidInput("failed_at: line must be the number of a line, 1 or more")
    return json.dumps({"function": function[:_LONGEST_TEXT], "line": line, "text": text[:_LONGEST_TEXT]})


def frame_of(text: str | None) -> Frame | None:
    """Return the frame that is stored, or None if there is none that can be read."""
    try:
        found = json.loads(text or "null")
        return Frame(str(found["function"]), int(found["line"]), str(found["text"]))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):  # what another program wrote
        return None


def place_of(text: str | None) -> dict[str, Any] | None:
    """Return the stored frame as a mapping of function, line and text; None if there is none that can be read."""
    frame = frame_of(text)
    return None if frame is None else asdict(frame)


def shortened(text: str, most: int = LONGEST) -> str:
    """Return a traceback cut in its middle: how it began, and where it failed."""
    if len(text) <= most:
        return text
    cut = f"\n… {len(text) - most:,} characters left out …\n"
    head = most // 4
    return f"{text[:head]}{cut}{text[head + len(cut) - most :]}"


def _outside(found: TracebackType | None) -> Sequence[Entry]:
    """Return the frames from the first one that is not Rollguard's."""
    entries: list[Entry] = []
    while found is not None:
        code = found.tb_frame.f_code
        if entries or not code.co_filename.startswith(_ROLLGUARD):
            entries.append((code.co_filename, code.co_name, found.tb_lineno or 1, found))
        found = found.tb_next
    return entries


def _own_frame(entries: Sequence[Entry]) -> Frame:
    own = next((file for file, *_ in entries if not file.startswith((_ROLLGUARD, *_LIBRARIES))), entries[0][0])
    _file, function, line, inner = next(entry for entry in reversed(entries) if entry[0] == own)
    (summary,) = traceback.StackSummary.extract([(inner.tb_frame, line)], lookup_lines=True)
    return Frame(function[:_LONGEST_TEXT], line, (summary.line or "")[:_LONGEST_TEXT])
