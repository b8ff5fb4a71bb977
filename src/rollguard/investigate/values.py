"""Read the parameters of a call as values at JSON paths, such as `$.order.lines[*].price`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Path = tuple[str, ...]
"""The keys from the outermost value inwards; `EACH` is every item of an array."""

EACH = "[*]"
ROOT: Path = ("$",)
REDACTED = "***"
_MOST_PATHS = 300
_MOST_ITEMS = 50  # of one array
_DEEPEST = 8
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Values:
    """The values of one call, by their paths.

    Args:
        parameters: the parameters as JSON values; None if they are unknown.
        context: what else is known of the call, each value at a path of its own.
    """

    __slots__ = ("at",)

    def __init__(self, parameters: Any, context: Mapping[str, Any]) -> None:
        self.at: dict[Path, list[Any]] = {(name,): [value] for name, value in context.items() if value is not None}
        if parameters is not None:
            self._read(parameters, ROOT)

    def _read(self, value: Any, path: Path) -> None:
        known = self.at.get(path)
        if known is None:
            if len(self.at) >= _MOST_PATHS:
                return
            known = self.at[path] = []
        known.append(value)
        if len(path) > _DEEPEST:
            return
        if isinstance(value, dict):
            for name, item in value.items():
                self._read(item, (*path, name))
        elif isinstance(value, list):
            for item in value[:_MOST_ITEMS]:
                self._read(item, (*path, EACH))

    def lacks(self, path: Path) -> bool:
        """Return whether an object that could hold the last key of the path does not."""
        if len(path) < 2 or path[-1] == EACH:
            return False
        holders = sum(isinstance(value, dict) for value in self.at.get(path[:-1], ()))
        return holders > len(self.at.get(path, ()))


def path_text(path: Path) -> str:
    """Return a path as people write it."""
    first, *rest = path
    parts = [part if part == EACH else f".{part}" if _NAME.fullmatch(part) else f"[{quoted(part)}]" for part in rest]
    return "".join([first, *parts])


def quoted(value: Any, most: int = 80) -> str:
    """Return a value as JSON, cut to a length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def kind_of(value: Any) -> str:
    """Return the JSON type of a value; a number without a fraction is an integer."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    return "array" if isinstance(value, list) else "object" if isinstance(value, dict) else "string"
