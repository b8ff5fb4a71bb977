"""What the system tells of a file without opening it: closing it would end all locks that this process has on it."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, int]
"""Device and inode."""


def locks() -> dict[int, set[int]]:
    """Return by inode which processes hold locks, as far as the system tells: Linux does, of the same container.

    Asking by `fcntl` would mean to open and close the file, which ends all locks that this process has on it. A long
    table is read in parts, and may lack a lock when others change meanwhile, so it is read twice.
    """
    found: dict[int, set[int]] = {}
    try:
        lines = [line for _ in range(2) for line in Path("/proc/locks").read_text("ascii").splitlines()]
    except OSError:
        return found
    for line in lines:
        fields = line.split()  # 1: POSIX ADVISORY READ 4711 fe:00:2434229 128 128
        if fields[1] == "POSIX":
            found.setdefault(int(fields[5].rpartition(":")[2]), set()).add(int(fields[4]))
    return found


def size_of(path: str) -> int:
    """Return the size of a file; 0 if there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as below
    except OSError:
        return 0


def stamp_of(path: str) -> Stamp | None:
    """Return which file is at a path; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a `Path` takes four times as long
    except OSError:  # also a folder that is gone, or may not be read
        return None
    return found.st_dev, found.st_ino
