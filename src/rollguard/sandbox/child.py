"""The program of a child process: run one file, and answer whether it holds a tool. Started by its path.

It answers in lines: `loads`, `refused TEXT`, or, of a class, `class` and then `definition JSON` or `undescribed TEXT`.
The text has Python's escapes, so that it is one line. What the file does to this process cannot reach another.
"""

from __future__ import annotations

import faulthandler
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

if TYPE_CHECKING or __name__ != "__main__":
    from rollguard.sandbox import tool_file
else:
    import tool_file  # it is beside this program; importing `rollguard` would take longer than the rest

_LONGER = 5.0  # seconds after the deadline, at which the child ends although nobody has ended it


def main() -> None:
    """Read the request, run the file, and answer."""
    answer, end, write = int(sys.argv[2]), os._exit, os.write
    with open(int(sys.argv[1]), "rb") as pipe:  # noqa: PTH123
        wanted, code, path, seconds, sys.path[:], folder, sys.argv[1:] = marshal.loads(pipe.read())  # noqa: S302 - our own
    faulthandler.dump_traceback_later(seconds + _LONGER, exit=True, file=2)
    if os.path.isdir(folder):  # noqa: PTH112
        os.chdir(folder)

    def say(word: str, text: str = "") -> None:
        line = word.encode() + b" " + text.encode("unicode_escape") + b"\n"
        while line:
            line = line[write(answer, line) :]

    refused = "is no tool"
    try:
        module = tool_file.run_module(f"rollguard_tool_{wanted}_0", code, path)
        found = tool_file.find_tool(module, wanted, _mark_of())
    except tool_file.NotATool as error:
        refused = str(error)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything
        refused = f"cannot be loaded: {tool_file.describe(error)}"
    else:
        if found.definition is None:
            say("loads")
        else:
            say("class")
            say(*_definition(found.definition))
        end(0)
    say("refused", refused)
    end(0)


def _mark_of() -> Callable[[object], Any]:
    """Return Rollguard's function for the mark of `@tool`, or one that finds none if nothing has imported `@tool`."""
    decorator = sys.modules.get("rollguard.record.decorator")
    if decorator is not None:
        mark_of: Callable[[object], Any] = decorator.mark_of
        return mark_of

    def no_mark(value: object) -> None:
        getattr(value, "__rollguard_tool__", None)  # as in the process that serves: it may raise

    return no_mark


def _definition(ask: Callable[[], Any]) -> tuple[str, str]:
    import json

    try:
        definition = ask()
        if not isinstance(definition, dict):
            return "undescribed", f"get_tool_definition returned {type(definition).__name__}, not a dict"
        return "definition", json.dumps(definition, default=str)
    except BaseException as error:  # noqa: BLE001 - the tool's own code
        return "undescribed", f"get_tool_definition failed: {tool_file.describe(error)}"


if __name__ == "__main__":
    main()
