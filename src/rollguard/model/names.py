"""Check the names and ids that the store accepts."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from rollguard.errors import InvalidInput, InvalidToolName

MAX_NAME = 255
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def checked_tool_name(name: object) -> str:
    """Return the tool's name if it can be recorded: 1 to 255 printable characters without a backslash.

    A tool of the folder has a name that MCP allows, which is less; see `rollguard.registry.folder.file_names`.

    Raises:
        InvalidToolName: it is invalid.
    """
    if type(name) is str and _is_tool_name(name):
        return name
    if not isinstance(name, str) or not name.strip():
        raise InvalidToolName(f"tool_name: {name!r} is not a tool's name; give a non-empty string")
    if len(name) > MAX_NAME:
        raise InvalidToolName(f"tool_name: {len(name)} characters are too many; at most {MAX_NAME}")
    if not _is_tool_name(name):
        raise InvalidToolName(f"tool_name: {name!r} is not a tool's name; it may not hold control characters or '\\'")
    return name


@lru_cache(maxsize=1_024)  # a few names occur in most calls
def _is_tool_name(name: str) -> bool:
    return name.isprintable() and "\\" not in name and len(name) <= MAX_NAME and bool(name.strip())


def may_share_a_file(one: str, other: str) -> bool:
    """Return whether two tools may be in one file or package, by their names; then they have the same bytes."""
    places = [{name, name.rpartition("/")[0]} - {""} for name in (one, other)]
    return bool(places[0] & places[1])


def toml_key(name: str) -> str:
    """Return a tool's name as a key of a TOML file has it: in quotation marks if it holds a dot or a slash."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def checked_id(key: str, value: object) -> str:
    """Return a caller's own id if it is valid: 1 to 255 printable characters.

    Raises:
        InvalidInput: it is invalid; the message names `key`.
    """
    if not isinstance(value, str) or not value or len(value) > MAX_NAME or not value.isprintable():
        raise InvalidInput(f"{key}: {value!r} is not an id; give 1 to {MAX_NAME} printable characters")
    return value
