"""Find out in a child process whether a file's code loads as a tool."""

from __future__ import annotations

import json
import marshal
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollguard.sandbox.process import ChildNotStarted, run_child

__all__ = ["DEADLINE", "ChildNotStarted", "ToolCheck", "check_tool"]

DEADLINE = 30.0
"""Seconds that a file has to load."""

_CHILD = Path(__file__).with_name("child.py")
_SHOWN = 2_000  # characters of a reason
_LAST_WORDS = 300  # characters of output in a reason


@dataclass(frozen=True, slots=True)
class ToolCheck:
    """What is known of a file's code from running it once.

    Attributes:
        loads: whether the file holds a tool that loads.
        error: why it does not; or, of one that loads, why its own definition failed.
        definition: the definition of a tool class.
    """

    loads: bool
    error: str | None = None
    definition: dict[str, Any] | None = None


def check_tool(wanted: str, code: bytes | dict[str, bytes], path: Path, *, deadline: float = DEADLINE) -> ToolCheck:
    """Run the code once, in a child process with this process's environment, and return whether it is a tool.

    Nothing that the code does ends, delays beyond the deadline, or changes this process.

    Args:
        wanted: the name of the function that is the tool, if none is marked.
        code: the file's bytes, or the files of a package.
        path: the file, or the package's folder.
        deadline: seconds that it has.

    Raises:
        ChildNotStarted: the system starts no process.
    """
    try:
        folder = os.getcwd()  # noqa: PTH109 - text for the child
    except OSError:  # the folder is gone
        folder = os.sep
    sys_path = [str(entry) for entry in sys.path]
    arguments = [str(argument) for argument in sys.argv[1:]]
    request = marshal.dumps(
        {
            "wanted": wanted,
            "code": code,
            "path": str(path),
            "seconds": deadline,
            "sys_path": sys_path,
            "folder": folder,
            "arguments": arguments,
        }
    )
    outcome = run_child(_CHILD, request, deadline=deadline, complete=_is_complete)
    lines = bytes(outcome.answer).split(b"\n")[:-1]
    said = [line.partition(b" ") for line in lines]
    if not said or said[0][0] not in (b"loads", b"class", b"refused"):
        return ToolCheck(loads=False, error=_unanswered(outcome.ended, outcome.output, deadline))
    if said[0][0] == b"refused":
        return ToolCheck(loads=False, error=_text(said[0][2]))
    if said[0][0] == b"loads":
        return ToolCheck(loads=True)
    return (
        _described(said[1][0], _text(said[1][2]))
        if len(said) > 1
        else ToolCheck(loads=True, error=f"get_tool_definition {outcome.ended}")
    )


def _is_complete(answer: bytearray) -> bool:
    return answer.count(b"\n") > (1 if answer.startswith(b"class") else 0)


def _described(word: bytes, text: str) -> ToolCheck:
    if word != b"definition":
        return ToolCheck(loads=True, error=text)
    try:
        return ToolCheck(loads=True, definition=json.loads(text))
    except (ValueError, RecursionError):
        return ToolCheck(loads=True, error="get_tool_definition returned what JSON cannot express")


def _text(escaped: bytes) -> str:
    try:
        text = escaped.decode("unicode_escape")
    except ValueError:  # not by our child's hand
        text = escaped.decode("ascii", "backslashreplace")
    return text


def _unanswered(ended: str, output: bytes, deadline: float) -> str:
    how = (
        f"it did not load within {deadline:g} s"
        if ended == "did not end in time"
        else f"its import {ended or 'gave no answer'}"
    )
    last = output.decode("utf-8", "backslashreplace").strip()
    return f"cannot be loaded: {how}" + (f"; it printed: {last[:_LAST_WORDS]}" if last else "")
