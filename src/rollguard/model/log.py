"""Log one event as one line, whatever its texts hold and whatever the program's handlers do."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

from rollguard.model.redaction import DEFAULT
from rollguard.model.text import one_line

EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What asks a program or a generator to end. Everything else that is raised is an error, which a thread survives."""

_FRAMES = 3  # the innermost ones of an exception that are named
_CAUSES = 3


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records cannot be forged, and that raises nothing.

    Arguments of a message are neutralised, see `rollguard.model.text`. Instead of a traceback of many lines, the
    message ends with the exception and the innermost lines of code. If a handler raises, the message goes to stderr.
    """

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log a message, if the level is enabled."""
        if not self.isEnabledFor(level):
            return
        error = _given(options.pop("exc_info", None))
        if error is not None:
            text = msg if args else str(msg).replace("%", "%%")
            msg, args = f"{text} (%s)", (*args, described(error))
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        try:
            self.logger.log(level, msg, *(_plain(arg) for arg in args), **options)
        except EXITS:
            raise
        except BaseException as failure:  # noqa: BLE001 - a handler is the program's own code
            with contextlib.suppress(Exception):  # there is nowhere left to say it
                print(f"{logging.getLevelName(level)}: {_text(msg, args)} ({_of_handler(failure)})", file=sys.stderr)


def logger_of(name: str) -> Log:
    """Return the `Log` of a module."""
    return Log(logging.getLogger(name), {})


def described(error: BaseException) -> str:
    """Return an exception in one line: type, message, innermost lines of code, and what caused it."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < _CAUSES:
        parts.append(f"{type(cause).__name__}: {DEFAULT.text(str(_plain(cause)))}{_places(cause)}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "; because of ".join(parts)


def _places(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))[-_FRAMES:]
    places = [f"{Path(frame.f_code.co_filename).name}:{line}" for frame, line in reversed(frames)]
    return one_line(f" at {', '.join(places)}") if places else ""


def _given(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    return sys.exc_info()[1] if exc_info else None


def _plain(value: object) -> object:
    """Return numbers as they are, and the text of everything else, neutralised."""
    if value is None or isinstance(value, bool | int | float):
        return value
    try:
        return one_line(str(value))
    except EXITS:
        raise
    except BaseException as error:  # noqa: BLE001 - a tool's own exception may fail to describe itself
        return f"<{type(value).__name__}: str failed with {type(error).__name__}>"


def _text(msg: object, args: tuple[object, ...]) -> str:
    return str(msg) % tuple(_plain(arg) for arg in args) if args else str(msg)


def _of_handler(failure: BaseException) -> str:
    return f"on stderr, because a log handler failed with {type(failure).__name__}"
