"""Check the arguments that callers give, so that a wrong type is our error and not Python's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from rollguard.errors import InvalidInput, InvalidSetting

_Value = TypeVar("_Value")
_FIRST, _LAST = 1_000, 9_900  # years between which every sum with a window is a time too


def checked_now(now: object, key: str = "now") -> datetime:
    """Return the moment in UTC; None is the present one, and a naive datetime is local time.

    Raises:
        InvalidInput: it is no datetime, or none that can be reckoned with; the message names `key`.
    """
    if now is None:
        return datetime.now(UTC)
    if not isinstance(now, datetime):
        raise InvalidInput(f"{key}: {now!r} is not a datetime")
    if not _FIRST <= now.year <= _LAST:
        raise InvalidInput(f"{key}: {now} is not a time between the years {_FIRST} and {_LAST}")
    return now.astimezone(UTC)


def checked_mapping(key: str, value: Mapping[str, _Value] | None) -> dict[str, _Value]:
    """Return a mapping as a dict; None is an empty one. Raise `InvalidSetting` if it is none."""
    given: Any = value
    if given is not None and not isinstance(given, Mapping):
        raise InvalidSetting(key, f"{given!r} is not a mapping of tools' names")
    return dict(given or {})


def checked_all(key: str, values: Iterable[_Value], *needed: str) -> list[_Value]:
    """Return objects as a list if each has the attributes; stop at the first that does not.

    Raises:
        InvalidSetting: there is one that does not, or nothing to iterate over.
    """
    found: list[_Value] = []
    try:
        every = iter(values)
    except TypeError as error:
        raise InvalidSetting(key, f"{values!r} is not a list") from error
    for value in every:
        missing = [name for name in needed if not hasattr(value, name)]
        if missing:
            raise InvalidSetting(key, f"{value!r} has no {' and no '.join(missing)}")
        found.append(value)
    return found


def checked_kind(name: str, value: object, kind: type[_Value]) -> _Value | None:
    """Return the value if it is of a class, or None.

    Raises:
        InvalidInput: it is something else.
    """
    if value is None or isinstance(value, kind):
        return value
    raise InvalidInput(f"{name}: {value!r} is not a {kind.__name__}")
