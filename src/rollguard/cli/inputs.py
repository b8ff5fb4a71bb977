"""Convert what people type to values."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import typer

STDIN = Path("-")

_UNITS = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1)}
_UNITS |= {"m": _UNITS["min"], "s": timedelta(seconds=1)}
_LONGEST = timedelta(days=36_500)


def parameters(assignments: list[str], document: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of `name=value` arguments and of a JSON object, and the texts of the former.

    The arguments take precedence over the object. A value is JSON if it can be, else text.

    Raises:
        typer.BadParameter: an argument is not `name=value`, a name is given twice, or it is no JSON object.
    """
    texts = assigned(assignments, "name=value")
    given = {} if document is None else json_value(document, "--params")
    if not isinstance(given, dict):
        raise typer.BadParameter('--params: give a JSON object, such as \'{"city": "Oslo"}\'')
    return {**given, **{name: json_or_text(text) for name, text in texts.items()}}, texts


def assigned(assignments: Iterable[str], form: str, *, option: str = "", taken: Container[str] = ()) -> dict[str, str]:
    """Return what assignments such as `name=value` give, by name.

    Raises:
        typer.BadParameter: one is not of that form, or its name is given twice or is `taken`.
    """
    found: dict[str, str] = {}
    where = f"{option}: " if option else ""
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{where}{assignment!r} is not of the form {form}")
        if name in found or name in taken:
            raise typer.BadParameter(f"{where}{name} is given twice")
        found[name] = value
    return found


def json_or_text(text: str) -> Any:
    """Return the text's value if it is JSON, else the text itself."""
    try:
        return strict_json(text)
    except ValueError:
        return text


def json_value(text: str, option: str) -> Any:
    """Return the value of an option that takes JSON."""
    try:
        return strict_json(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def strict_json(text: str) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: it is not valid JSON; NaN and Infinity, which Python would accept, are not.
    """
    try:
        return _STRICT.decode(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from error


def time_of(text: str) -> datetime:
    """Return a time given in ISO 8601; without a zone it is local time.

    Raises:
        ValueError: it is not a time in ISO 8601.
    """
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time in ISO 8601, such as 2026-03-01T12:00:00Z") from error


def time_given(text: str | None, option: str) -> datetime | None:
    """Return the time that an option gives, or None if it is not given.

    Raises:
        typer.BadParameter: it is not a time in ISO 8601.
    """
    try:
        return None if text is None else time_of(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from error


def since_given(text: str, now: datetime) -> datetime:
    """Return the beginning that `--since` gives: 2d, 36h, 90min, today, yesterday, or a time in ISO 8601.

    Raises:
        typer.BadParameter: it is none of these.
    """
    wanted = text.strip().lower()
    days_back = {"today": 0, "yesterday": 1}.get(wanted)
    if days_back is not None:
        midnight = (now.astimezone() - timedelta(days=days_back)).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight.replace(tzinfo=None).astimezone()  # its own offset: summer time may have begun since
    number = wanted.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = _UNITS.get(wanted.removeprefix(number).strip())
    try:
        if unit is not None:
            return now - min(_age(number) * unit, _LONGEST)
        return time_of(text)
    except ValueError as error:
        problem = f"{text!r} is neither an age, such as 2d, 36h or 90min, nor today, yesterday, or a time in ISO 8601"
        raise typer.BadParameter(f"--since: {problem}") from error


def _age(number: str) -> float:
    found = float(number)
    if not found >= 0:
        raise ValueError(f"{number} is no age")
    return min(found, 1e6)


def tags_given(assignments: list[str] | None) -> dict[str, str]:
    """Return the tags of options such as `tenant=a`.

    Raises:
        typer.BadParameter: one has no name or no value, or a name is given twice.
    """
    return assigned(assignments or (), "NAME=VALUE", option="--tag")


def code_of(file: Path) -> bytes:
    """Return the bytes of a file of code, the text of a package's folder, or stdin for `-`.

    Raises:
        InvalidInput: it cannot be read.
    """
    if file == STDIN:
        return sys.stdin.buffer.read()
    from rollguard.registry.folder.tree import code_at  # after all that --help needs

    return code_at(file)


def stem_of(file: Path) -> str:
    """Return the name of a file without its ending, or of a package's folder."""
    return file.resolve().name if file.is_dir() else file.stem


def who() -> str:
    """Return the login name, to record who did it; "human" if the user has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return "human"


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"not JSON: {constant}")


_STRICT = json.JSONDecoder(
    parse_constant=_refuse_constant
)  # created once: `json.loads` would create one for every document
