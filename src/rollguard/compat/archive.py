"""Write the files of a package as one text, and read it back. The text is a version's code, as a file's bytes are."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

HEADER = b"rollguard package 1\n"
"""How the text begins. It is no Python, so no file of Python begins like it."""

INIT = "__init__.py"

_FILE = re.compile(rb"==> ([^\n]+), ([0-9]{1,9}) bytes(, base64)?\n")


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the text of a package's files: each is preceded by its path and its length, in the order of the paths."""
    parts = [HEADER]
    for path, content in sorted(files.items()):
        text, note = (content, b"") if _is_text(content) else (base64.encodebytes(content), b", base64")
        parts.append(b"==> %s, %d bytes%s\n%s\n" % (path.encode(), len(text), note, text))
    return b"".join(parts)


def is_package(code: bytes) -> bool:
    """Return whether a version's code is the text of a package."""
    return code.startswith(HEADER)


def unpack(code: bytes) -> dict[str, bytes]:
    """Return the files of a package's text, by their paths.

    Raises:
        ValueError: it is not such a text, exactly as `pack` writes it; or a path leads out of the package.
    """
    files: dict[str, bytes] = {}
    at = len(HEADER)
    while at < len(code):
        found = _FILE.match(code, at)
        if found is None:
            raise ValueError(f"the text of the package is damaged at byte {at}")
        end = found.end() + int(found[2])
        text, at = code[found.end() : end], end + 1
        try:
            files[checked_path(found[1].decode())] = base64.decodebytes(text) if found[3] else text
        except binascii.Error as error:
            raise ValueError(f"the text of the package is damaged: {error}") from error
    if pack(files) != code:
        raise ValueError("the text of the package is not as Rollguard writes it; give the package's folder")
    return files


def checked_path(path: str) -> str:
    """Return the path of a file in a package.

    Raises:
        ValueError: it leads out of the package, or cannot be written down.
    """
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} cannot name a file of a package")
    return path


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content
