"""Name the places in a JSON value: `items[*].id`, with `[*]` for any position of a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

ROOT = "$"


def at_key(place: str, key: str) -> str:
    """Return the place of a key."""
    return key if place == ROOT else f"{place}.{key}"


def at_items(place: str) -> str:
    """Return the place of the items of a list."""
    return f"{place}[*]"


def matches(place: str, patterns: Iterable[str]) -> bool:
    """Return whether a place is one of those that patterns name: `*` is any one step, `**` any steps."""
    return any(_compiled(pattern).fullmatch(place) is not None for pattern in patterns)


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> re.Pattern[str]:
    if pattern != ROOT:
        pattern = pattern.removeprefix(f"{ROOT}.")
    parts = re.split(r"(\*\*\.?|\[\*\]|\*)", pattern)
    stands = {"**.": r"(?:.*[.\]])?", "**": ".*", "*": r"[^.\[]+", "[*]": r"\[\*\]"}
    return re.compile("".join(stands.get(part) or re.escape(part) for part in parts), re.DOTALL)


def leaves(value: Any, place: str = ROOT) -> Iterator[tuple[str, Any]]:
    """Yield (place, value) of everything in a JSON value that holds no other."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, at_key(place, str(key)))
    elif isinstance(value, list) and value:
        for item in value:
            yield from leaves(item, at_items(place))
    else:
        yield place, value
