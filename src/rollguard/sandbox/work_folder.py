"""The temporary folder that a tool in the sandbox may write: bounded, and removed whatever is in it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import tempfile
import time
from collections.abc import Iterator

_PREFIX = "rollguard-sandbox-"
_FILES = 1_000
_TIMES = 4  # what all files together may have, in largest files
_LOOK_EVERY = 0.05  # seconds
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class WorkFolder:
    """An empty folder, removed at the end of a `with`. Its process locks it, so that none removes another's.

    Args:
        file_bytes: the largest file in it. All together may have four times as much.
    """

    def __init__(self, file_bytes: int) -> None:
        remove_abandoned(tempfile.gettempdir())
        self.path, self._lock = _made()
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
        """Remove it, once the process that wrote it has ended."""
        lock, self._lock = self._lock, -1
        try:
            _remove(self.path)
        finally:
            if lock != -1:
                os.close(lock)


@functools.cache
def remove_abandoned(parent: str) -> None:
    """Remove the folders of processes that were killed before they could. It looks once in each process."""
    with os.scandir(parent) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(_PREFIX) and not entry.is_symlink()]
    for path in found:
        with contextlib.suppress(OSError):  # it is another user's, in use, or removed by another process
            lock = os.open(path, _FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def _made() -> tuple[str, int]:
    """Return a new folder and the descriptor that locks it. One that was taken for abandoned meanwhile is none."""
    while True:
        path = os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(path, _FOLDER)
        with contextlib.suppress(OSError):  # a file system without locks, where nobody can take it for abandoned
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(path):  # noqa: PTH112
            return path, lock
        os.close(lock)


def _remove(path: str) -> None:
    """Remove a folder, whatever is in it.

    A folder's entries are moved up before it is removed: the depth that a tool can make is none that Python's
    recursion, or a path, could follow. Everything is done by descriptors, so that no link leads elsewhere.
    """
    if os.path.islink(path):  # noqa: PTH114 - put in its place; what it leads to is not ours
        os.unlink(path)  # noqa: PTH108
    if not os.path.isdir(path):  # noqa: PTH112
        return
    top, numbers = os.open(path, _FOLDER), itertools.count()
    try:
        while names := os.listdir(top):  # noqa: PTH208 - by descriptor
            for name in names:
                if not _removed(name, top):
                    _empty(name, top, numbers)
                    os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)  # noqa: PTH106


def _removed(name: str, folder: int) -> bool:
    """Remove a file, and return False if it is a folder, into which this process may then go."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):  # Linux; macOS
        if os.geteuid() != 0:  # root may enter anyway
            os.chmod(name, 0o700, dir_fd=folder)
        return False
    return True


def _empty(name: str, top: int, numbers: Iterator[int]) -> None:
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        for below in os.listdir(folder):  # noqa: PTH208
            if not _removed(below, folder):
                os.rename(below, f".moved-up-{os.urandom(4).hex()}-{next(numbers)}", src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
