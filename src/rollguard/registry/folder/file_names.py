"""Write a tool's name as the name of its file, and read it back. Only the folder knows this; all others use the name.

A name is what MCP allows: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, all ASCII. Its file is named like it, but:

* `/` is written `+`, so that no name leads into another folder.
* `%` stands before a name that does not begin with a letter or a digit, because such files are hidden or left alone,
  and before a name that Windows keeps for a device, such as `con` or `nul.x`.

So `my_tool` is in `my_tool.py`, `git.status` in `git.status.py`, `repo/list` in `repo+list.py`, `_all` in `%_all.py`.
Neither `+` nor `%` can be part of a name, so each file has one name, and each name one file of at most 132 bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rollguard.errors import InvalidToolName

MAX_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.ASCII | re.IGNORECASE)


def checked_file_name(name: object) -> str:
    """Return the tool's name, if a file of the folder can have it.

    Raises:
        InvalidToolName: no file can have it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidToolName(f"{name!r} cannot name a tool's file; use letters, digits, '_', '-', '.' and '/' only")
    if len(name) > MAX_NAME:
        raise InvalidToolName(f"a tool's name of {len(name)} characters is too long; at most {MAX_NAME}")
    return name


@lru_cache(maxsize=16_384)  # every check of a file asks for it
def stem_of(name: str) -> str:
    """Return the name of the tool's file without `.py`.

    Raises:
        InvalidToolName: no file can have the name.
    """
    stem = checked_file_name(name).replace("/", "+")
    plain = stem[0].isalnum() and not _DEVICE.fullmatch(stem)
    return stem if plain else f"%{stem}"


def name_of(stem: str) -> str | None:
    """Return the name of the tool in a file named so, without `.py`; None if no tool's file is."""
    name = stem.removeprefix("%").replace("+", "/")
    try:
        return name if stem_of(name) == stem else None
    except InvalidToolName:
        return None
