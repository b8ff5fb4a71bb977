"""The command line: `rollguard`. Thin over `rollguard.app.Rollguard`; see docs/cli.md."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

_OBJECTS = 20_000  # between two collections of garbage: a start makes many objects that stay


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the arguments after `rollguard`; by default those of the process.

    Returns:
        The exit code; see `rollguard.cli.exits`.
    """
    from rollguard.cli import exits, output
    from rollguard.errors import RollguardError

    gc.set_threshold(_OBJECTS)
    if arguments is None:  # the process ends with the command, which need not search its objects for garbage
        atexit.register(gc.freeze)
    output.never_fail_on_characters()
    given = sys.argv[1:] if arguments is None else list(arguments)
    for argument in given:
        if not _is_text(argument):
            return exits.usage(f"{argument!r} is not UTF-8 text")
    try:
        code = _run(given)
        output.flush()
    except RollguardError as error:
        code = exits.report(error)
    except output.ReaderGone:
        code = exits.READER_GONE
    except KeyboardInterrupt:
        code = exits.INTERRUPTED
    except OSError as error:
        code = exits.report(error)
    return code


def _run(arguments: list[str]) -> int:
    import typer

    from rollguard.cli import exits
    from rollguard.cli.app import app

    wrong_usage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        code = app(args=arguments, prog_name="rollguard", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.Abort:
        return exits.aborted()
    except wrong_usage as error:
        return exits.wrong_usage(error)
    return code if isinstance(code, int) else exits.OK


def _is_text(argument: str) -> bool:
    """Return False for bytes that are not UTF-8 text: no database can store them."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
