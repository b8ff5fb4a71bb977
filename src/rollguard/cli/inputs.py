"""What people type, as the values that are meant."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from rollguard.errors import InvalidInput

STDIN = Path("-")


def parameters(words: list[str], document: str | None) -> dict[str, Any]:
    """`k=v` words over a JSON object.

    Raises:
        typer.BadParameter: a word is no `k=v`, a name comes twice, or the document is no JSON object.
    """
    meant: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word!r} is not of the form name=value")
        if name in meant:
            raise typer.BadParameter(f"{name!r} is given twice")
        meant[name] = json_or_text(value)
    if document is None:
        return meant
    given = json_value(document, "--params")
    if not isinstance(given, dict):
        raise typer.BadParameter('--params: give a JSON object, such as \'{"city": "Oslo"}\'')
    return {**given, **meant}


def json_or_text(text: str) -> Any:
    """The text's value if it is JSON, else the text itself."""
    try:
        return strict_json(text)
    except ValueError:
        return text


def json_value(text: str, option: str) -> Any:
    """The value of an option that takes JSON."""
    try:
        return strict_json(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def strict_json(text: str) -> Any:
    """The value of a JSON document.

    Raises:
        ValueError: it is none; NaN and Infinity, which Python would take, are none either.
    """
    try:
        return _STRICT.decode(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from error


def time_of(text: str) -> datetime:
    """A time in ISO 8601. One without a zone is local time.

    Raises:
        ValueError: it is none.
    """
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time in ISO 8601, such as 2026-03-01T12:00:00Z") from error


def time_given(text: str | None, option: str) -> datetime | None:
    """The time that an option gives, if it gives one.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        return None if text is None else time_of(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def code_of(file: Path) -> bytes:
    """The bytes of a file of code, or of stdin for `-`.

    Raises:
        InvalidInput: it cannot be read.
    """
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}; give a file of Python code") from error


def who() -> str:
    """Who is at the keyboard: the login name, for the books."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return "human"


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"not JSON: {constant}")


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)  # made once: `json.loads` would make one for every document
