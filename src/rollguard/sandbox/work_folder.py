"""The temporary folder that a tool in the sandbox may write: bounded, and removed whatever is in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time

_FILES = 1_000
_TIMES = 4  # what all files together may have, in largest files
_LOOK_EVERY = 0.05  # seconds


class WorkFolder:
    """An empty folder, removed at the end of a `with`.

    Args:
        file_bytes: the largest file in it. All together may have four times as much.
    """

    def __init__(self, file_bytes: int) -> None:
        self.path = os.path.realpath(tempfile.mkdtemp(prefix="rollguard-sandbox-"))
        self._most, self._next = file_bytes * _TIMES, 0.0

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def too_full(self) -> str | None:
        """Return what is too much in it, or None. Looks at most every 50 ms."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + _LOOK_EVERY
        files, used = 0, 0
        folders = [self.path]
        while folders:
            with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if files > _FILES:
                        return f"made more than {_FILES:,} files"
                    with contextlib.suppress(OSError):  # it is gone
                        used += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
        return f"wrote more than {self._most:,} bytes" if used > self._most else None

    def close(self) -> None:
        """Remove it. Whoever wrote it has ended.

        A folder's entries are moved up before it is removed: the depth that a tool can make is none that Python's
        recursion, or a path, could follow.
        """
        numbers = itertools.count()
        if not os.path.isdir(self.path):  # noqa: PTH112
            return
        while entries := list(os.scandir(self.path)):
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108
                    continue
                os.chmod(entry.path, 0o700)  # noqa: PTH101
                for below in list(os.scandir(entry.path)):
                    if below.is_dir(follow_symlinks=False):
                        os.chmod(below.path, 0o700)  # noqa: PTH101 - moving a folder writes into it
                        os.rename(below.path, f"{self.path}/.rollguard-{next(numbers)}-{entry.name[:8]}")  # noqa: PTH104
                    else:
                        os.unlink(below.path)  # noqa: PTH108
                os.rmdir(entry.path)  # noqa: PTH106
        os.rmdir(self.path)  # noqa: PTH106
