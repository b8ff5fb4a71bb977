"""Tags of executions: a few of the caller's own words and numbers, such as the tenant that a call is made for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from rollguard.errors import InvalidInput
from rollguard.model.given import understood_id, understood_number
from rollguard.model.redaction import DEFAULT, REDACTED

MOST, LONGEST_NAME, LONGEST_VALUE, LONGEST = 16, 64, 255, 1_024  # tags; characters; and bytes of them all as JSON
_LARGEST = 2**53  # whole numbers that every reader of JSON reads exactly

Tag = str | int | float | bool

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def checked_tags(tags: object) -> dict[str, Tag]:
    """Return tags as a dict if they are valid: at most 16, each a text, a number or a truth under a short name.

    Raises:
        InvalidInput: they are invalid; the message says which, and shows no value.
    """
    if not isinstance(tags, Mapping):
        raise InvalidInput(f"tags: {type(tags).__name__} is no mapping; give one such as {{'tenant': 'a'}}")
    if len(tags) > MOST:
        raise InvalidInput(f"tags: {len(tags)} are too many; at most {MOST}")
    found = {_checked_name(name): _checked_value(name, value) for name, value in tags.items()}
    if len(_encode(found)) > LONGEST:
        raise InvalidInput(f"tags: they are too long; at most {LONGEST} bytes of JSON")
    return found


def tags_text(tags: object) -> str | None:
    """Return tags as they are stored: JSON in one form; None if there are none.

    Raises:
        InvalidInput: they are invalid.
    """
    found = checked_tags(tags)
    return _encode(found) if found else None


def tag_as_text(value: Tag) -> str:
    """Return a tag's value as text, by which tags are compared: 3 and "3" are the same."""
    return value if isinstance(value, str) else _encode(value)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME or "=" in name:
        raise InvalidInput(
            f"tags: {name!r} is not the name of a tag; give 1 to {LONGEST_NAME} printable characters without '='"
        )
    return name


def _checked_value(name: str, value: object) -> Tag:
    plain = value if type(value) is str else understood_number(value)
    if not isinstance(plain, str | bool | int | float):
        plain = understood_id(plain)
    if isinstance(plain, str) and len(plain) <= LONGEST_VALUE:
        return REDACTED if DEFAULT.hides(name) else plain
    if isinstance(plain, bool) or (isinstance(plain, int) and abs(plain) <= _LARGEST):
        return plain
    if isinstance(plain, float) and math.isfinite(plain):
        return plain
    raise InvalidInput(
        f"tags: the value of {name!r} is not a text of at most {LONGEST_VALUE} characters, a number, True or False"
    )
