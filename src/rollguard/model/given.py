"""Check the arguments that callers give, so that a wrong type is our error and not Python's.

A value of another type is taken if its meaning is certain, such as a time in ISO 8601 or a number of numpy.
"""

from __future__ import annotations

import contextlib
import numbers
import operator
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from rollguard.errors import InvalidInput, InvalidSetting

_Value = TypeVar("_Value")
_FIRST, _LAST = 1_000, 9_900  # years between which every sum with a window is a time too


_SESSION = re.compile(r"(?:session_)?0*([1-9][0-9]{0,9})")
_MILLISECOND = timedelta(milliseconds=1)


def understood_time(value: Any) -> Any:
    """Return the time that a text in ISO 8601 means; anything else unchanged. A date alone, or a number, is no time."""
    if isinstance(value, str) and ":" in value:
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value.strip())
    return value


def understood_number(value: Any) -> Any:
    """Return a number of another class, such as one of numpy or a `Decimal`, as Python's own; the rest unchanged."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, numbers.Integral):
        return operator.index(value)
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    if _is_numpy(value) and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def understood_duration(value: Any) -> Any:
    """Return the milliseconds that a number or a `timedelta` means; anything else unchanged."""
    if _is_numpy(value) and type(value).__name__ == "timedelta64":
        value = value.astype("timedelta64[us]").item()
    if isinstance(value, timedelta):
        return value / _MILLISECOND
    return understood_number(value)


def understood_truth(value: Any) -> Any:
    """Return the truth that 1, 0 or a truth of numpy means; anything else unchanged."""
    value = understood_number(value)
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else value


def understood_id(value: Any) -> Any:
    """Return the text that a UUID or a whole number is written as; anything else unchanged."""
    if isinstance(value, uuid.UUID):
        return str(value)
    value = understood_number(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_numpy(value: object) -> bool:
    return type(value).__module__ == "numpy"


def checked_session_id(session_id: object) -> int:
    """Return a session's number, given as such or as text: "123" and "session_123" are session 123.

    Raises:
        InvalidInput: it is no session's number.
    """
    number = understood_number(session_id)
    if isinstance(session_id, str):
        match = _SESSION.fullmatch(session_id.strip())
        number = int(match[1]) if match else session_id
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**31:
        raise InvalidInput(f"session_id: {session_id!r} is not a session's number, as start_monitoring returns it")
    return number


def checked_now(now: object, key: str = "now") -> datetime:
    """Return the moment in UTC; None is the present one, and a naive datetime or text is local time.

    Raises:
        InvalidInput: it is no datetime, or none that can be reckoned with; the message names `key`.
    """
    if now is None:
        return datetime.now(UTC)
    given, now = now, understood_time(now)
    if not isinstance(now, datetime):
        raise InvalidInput(f"{key}: {given!r} is not a datetime, nor a time in ISO 8601")
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
