"""The command line: `rollguard`. Thin over `rollguard.app.Rollguard`; see docs/cli.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `rollguard`; by default the process's own.

    Returns:
        The exit code; see `rollguard.cli.exits`.
    """
    from rollguard.cli import exits, output
    from rollguard.errors import RollguardError

    output.never_fail_on_characters()
    words = sys.argv[1:] if arguments is None else list(arguments)
    for word in words:
        if not _is_text(word):
            return exits.usage(f"{word!r} is not UTF-8 text")
    try:
        code = _run(words)
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


def _run(words: list[str]) -> int:
    from rollguard.cli.app import app

    try:
        app(args=words, prog_name="rollguard")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _is_text(word: str) -> bool:
    """False for bytes that the shell passed on and that are no text: no database could hold them."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
