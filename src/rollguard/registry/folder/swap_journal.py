"""The journal of swaps: a file for each swap under way, which distinguishes an interrupted swap from a hand edit."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from rollguard.errors import ToolFileError
from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of
from rollguard.registry.folder.file_names import name_of, stem_of

logger = logger_of(__name__)

NO_FILE = ""
_LONGEST = 64 * 1024  # bytes of an entry
_PREFIX = ".rollguard.swap."  # begins with a dot: not a tool, and hidden from listings


@dataclass(frozen=True, slots=True)
class SwapEntry:
    """The entry of a swap. Its file stays until it is known whether the database has recorded the swap.

    Attributes:
        tool_name: the tool.
        before: SHA-256 of its file before the swap; None without a file.
        after: SHA-256 of its file after the swap, `NO_FILE` if it removes the file; None if the entry itself is
            incomplete, so that nothing was swapped.
        live: the id of the deployment that was live; None without one.
        path: the entry's own file.
        living: whether the process that wrote it lives, and will settle its swap itself.
        lock: the lock of an entry of this process, which shows others that the process lives.
    """

    tool_name: str
    before: str | None
    after: str | None
    live: int | None
    path: Path
    living: bool = False
    lock: IO[bytes] | None = None

    def remove(self) -> None:
        """Remove the entry, because file and database agree. If that fails, the next `settle` removes it."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.leave()

    def leave(self) -> None:
        """Leave the entry to the next `settle`."""
        if self.lock is not None:
            self.lock.close()


def write_entry(
    folder: Path,
    tool_name: str,
    *,
    before: str | None,
    after: str,
    live: int | None,
    access: FileAccess = FileAccess.OWNER,
) -> SwapEntry:
    """Write an entry that survives a power loss, before the swap. This process owns it until it is removed or left.

    Raises:
        ToolFileError: the entry cannot be written.
    """
    path = folder / f"{_PREFIX}{stem_of(tool_name)}.{uuid.uuid4().hex}"
    entry = SwapEntry(tool_name, before, after, live, path)
    try:
        lock = os.fdopen(access.create(path, os.O_WRONLY | os.O_NOFOLLOW), "wb", buffering=0)
        entry = replace(entry, lock=lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock.fileno(), json.dumps({"before": before, "after": after, "live": live}).encode())
        os.fsync(lock.fileno())
        _sync(folder)
    except OSError as error:
        entry.remove()
        raise ToolFileError(f"{folder} cannot be written: {error.strerror or error}") from error
    return entry


def entries_in(folder: Path, tool_name: str | None = None) -> list[SwapEntry]:
    """Return the entries of swaps under way and of interrupted ones, oldest first.

    What is no entry although its name says so is logged and left out: it must not stop the settling of others.

    Raises:
        ToolFileError: the folder cannot be read.
    """
    found = []
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    except OSError as error:
        raise ToolFileError(f"{folder} cannot be read: {error.strerror or error}") from error
    for path in paths:
        name = name_of(path.name.removeprefix(_PREFIX).rpartition(".")[0])
        if name is None:
            logger.error("%s is no entry of a swap, and is ignored; remove it", path)
        elif tool_name in (None, name):
            try:
                found.append(_read(path, name))
            except FileNotFoundError:  # the swap was finished at this moment
                pass
            except OSError as error:
                logger.error("%s is no entry of a swap, and is ignored; remove it: %s", path, error)
    return [entry for _, entry in sorted(found, key=lambda each: each[0])]


def _read(path: Path, tool_name: str) -> tuple[int, SwapEntry]:
    """Return when the entry was written, and the entry. A pipe is not waited for."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        status, living = os.fstat(file.fileno()), False
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a file")
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            living = True
        content = file.read(_LONGEST)
    try:
        values = json.loads(content)
        before, after, live = values["before"], values["after"], values["live"]
    except (ValueError, KeyError, TypeError, RecursionError):
        before, after, live = None, None, None
    if not (isinstance(after, str) and isinstance(before, str | None) and isinstance(live, int | None)):
        before, after, live = None, None, None  # cut short, so that nothing was swapped
    return status.st_mtime_ns, SwapEntry(tool_name, before, after, live, path, living)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
