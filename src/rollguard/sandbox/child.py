"""The program of a child process: run one file, and answer whether it is a tool, or what it does. Started by its path.

It answers in lines. Of a check: `loads`, `refused TEXT`, or, of a class, `class` and then `definition JSON` or
`undescribed TEXT`; the text has Python's escapes, so that it is one line. In the sandbox each line begins with the
word that came with the question, which nobody can know before: `WORD confined JSON`, `WORD loads {}` or `WORD refused
JSON`, and then for each input `WORD returned JSON` or `WORD raised JSON`. What the file does to this process cannot
reach another.
"""

from __future__ import annotations

import faulthandler
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, NoReturn

if TYPE_CHECKING or __name__ != "__main__":
    from rollguard.sandbox import tool_file
else:
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - what it needs is beside it
    import tool_file  # importing `rollguard` would take longer than the rest

_LONGER = 5.0  # seconds after the deadline, at which the child ends although nobody has ended it


def main() -> None:
    """Read the request, run the file, and answer."""
    answer, write = int(sys.argv[2]), os.write

    def say(line: bytes) -> None:
        line += b"\n"
        while line:
            line = line[write(answer, line) :]

    with open(int(sys.argv[1]), "rb") as pipe:  # noqa: PTH123
        request = marshal.load(pipe)  # noqa: S302 - our own
        if isinstance(request["code"], dict):
            __import__("tool_package")  # while what is beside this program can be imported
        if "confined" in request:
            _serve(request, pipe, say)
    _check(request, say)


def _check(request: dict[str, Any], say: Callable[[bytes], None]) -> NoReturn:
    end = os._exit
    sys.path[:], sys.argv[1:] = request["sys_path"], request["arguments"]
    faulthandler.dump_traceback_later(request["seconds"] + _LONGER, exit=True, file=2)
    if os.path.isdir(request["folder"]):  # noqa: PTH112
        os.chdir(request["folder"])

    def tell(word: str, text: str = "") -> None:
        say(word.encode() + b" " + text.encode("unicode_escape"))

    found = _found(request)
    if isinstance(found, str):
        tell("refused", found)
    elif found.definition is None:
        tell("loads")
    else:
        tell("class")
        tell(*_definition(found.definition))
    end(0)


def _found(request: dict[str, Any]) -> tool_file.Found | str:
    """Run the module and return its tool, or why it is none."""
    wanted = request["wanted"]
    try:
        module = tool_file.run_module(f"rollguard_tool_{wanted}_0", request["code"], request["path"])
        return tool_file.find_tool(module, wanted, _mark_of())
    except tool_file.NotATool as error:
        return str(error)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything
        return f"cannot be loaded: {tool_file.describe(error)}"


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


# --- in the sandbox --------------------------------------------------------------------------------------------------


def _serve(request: dict[str, Any], pipe: BinaryIO, say: Callable[[bytes], None]) -> NoReturn:
    """Confine this process, then load the tool and run it with each input."""
    import json

    if TYPE_CHECKING:
        from rollguard.sandbox import confine, runner
    else:
        import confine
        import runner

    end, word = os._exit, request["word"]
    sys.path[:], sys.argv[1:] = request["sys_path"], []
    lacking = confine.confine(request["confined"])
    os.environ.clear()
    os.environ.update(request["environment"])
    say(word + b" confined " + json.dumps(lacking).encode())
    word = pipe.readline().strip()
    if not word:  # it is not to be run
        end(0)
    faulthandler.dump_traceback_later(request["seconds"] + _LONGER, exit=True, file=2)
    if request["addresses"]:
        runner.know_hosts(request["addresses"])
    found = _found(request)
    if isinstance(found, str):
        say(word + b" refused " + json.dumps(found).encode())
        end(0)
    run = runner.Runner(found, request["path"], request["result_bytes"])
    say(word + b" loads {}")
    while question := pipe.readline():
        word, _space, text = question.partition(b" ")
        say(word + b" " + run.answer(text))
    end(0)


if __name__ == "__main__":
    main()
