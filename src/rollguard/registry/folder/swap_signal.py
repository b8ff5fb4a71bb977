"""A small file in the folder by which a swap is seen by every process without a system call."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import mmap
import os
import stat
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

NAME = ".rollguard.generation"
_BYTES = 8
_UNKNOWN: Sequence[float] = (math.nan,)  # equal to nothing, not even to itself


class Generation:
    """A random number that each swap replaces, mapped into the memory of every process that serves the folder.

    Reading it costs some nanoseconds, where looking at a tool's file costs a microsecond or two. Where it cannot be
    trusted to change with every swap it equals nothing, so that the file itself is looked at: in a folder or on a file
    system that takes no such file, and where somebody may write the folder who may not write this file.

    Args:
        folder: the folder of tools.

    Attributes:
        value: what to compare, its first item.
    """

    __slots__ = ("_folder", "_mapped", "_path", "value")

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._path = str(folder / NAME)
        self._mapped: tuple[int, int] | None = None
        self.value = _UNKNOWN
        self.look()

    def look(self) -> None:
        """Map the file that is there now: it may have been deleted, replaced or have changed hands."""
        try:
            found = os.lstat(self._path)
        except OSError:
            self._forget()
            self._make()
            return
        if self._mapped != (found.st_dev, found.st_ino) or not self._trusted(found):
            self._map()

    def _make(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder = Path(self._folder).stat()
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:  # read-only, gone, or another process was faster: the next look tells
            return
        try:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(folder.st_mode) & 0o666 | 0o600)
            os.pwrite(descriptor, os.urandom(_BYTES), 0)
        except OSError as error:
            logger.warning("%s cannot be used, so every call looks at its tool's file: %s", self._path, error)
            return
        finally:
            os.close(descriptor)
        self._map()

    def _map(self) -> None:
        self._forget()
        try:
            descriptor = _opened(self._path)
        except OSError:
            return
        try:
            found = os.fstat(descriptor)
            if self._trusted(found):
                mapped = mmap.mmap(descriptor, _BYTES, prot=mmap.PROT_READ)
                self.value = memoryview(mapped).cast("Q")
                self._mapped = (found.st_dev, found.st_ino)
        except (OSError, ValueError) as error:  # a file system that maps no files
            logger.debug("%s cannot be mapped, so every call looks at its tool's file: %s", self._path, error)
        finally:
            os.close(descriptor)

    def _forget(self) -> None:
        self.value, self._mapped = _UNKNOWN, None

    def _trusted(self, file: os.stat_result) -> bool:
        """Whether the file is whole, and everybody who may write the folder may write it too."""
        try:
            folder = Path(self._folder).stat()
        except OSError:
            return False
        may_write = folder.st_mode & 0o222
        return (
            stat.S_ISREG(file.st_mode)
            and file.st_size >= _BYTES
            and file.st_nlink > 0
            and folder.st_uid in (file.st_uid, 0)  # root writes everything
            and (folder.st_gid == file.st_gid or not may_write & stat.S_IWGRP)
            and file.st_mode & may_write == may_write
        )


def announce_swap(folder: Path) -> None:
    """Say that a file of the folder was swapped. Raises nothing: the swap has happened, and is found in the end."""
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:  # nobody has mapped it
        return
    except OSError as error:
        logger.warning("%s cannot be written, so processes see the swap some moments later: %s", path, error)
        return
    try:
        # Random, so that two swaps at once, whichever is seen, never leave the number that was there before. The file
        # is never cut short: who reads a page that is no more is killed.
        os.pwrite(descriptor, os.urandom(_BYTES), 0)
    except OSError as error:
        logger.warning("%s cannot be written, so processes see the swap some moments later: %s", path, error)
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    """The file, for writing where that is permitted: an overlay file system shows writers and readers two files."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_RDWR)
    except PermissionError:
        return os.open(path, flags | os.O_RDONLY)
    except OSError as error:
        if error.errno == errno.EROFS:
            return os.open(path, flags | os.O_RDONLY)
        raise
