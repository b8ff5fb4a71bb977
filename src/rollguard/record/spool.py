"""A spool for executions that could not be stored yet: a file of checksummed lines, shared by processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from rollguard.model.execution import FIELDS, Execution, checked_moment
from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of

logger = logger_of(__name__)

_BATCH = 1_000  # rows handed over at once
_LARGE = 16 * 2**20  # bytes in one file: about ten thousand rows


class Spool:
    """Files that hold executions while the database is away.

    Each line is a checksum and an execution as JSON. A line that a crash cut short is skipped and logged.
    Processes on one machine share a spool: they append in turn, and one of them drains it. The locks are files beside
    the spool. The lock for appending is held only during an append, never during database access.

    Rows are appended to `path`. Before a drain, and when it grows large, the file gets a number
    (`spool.000001.jsonl`). A drain takes these files in order and removes them one by one. If the database goes away
    during a drain, the files already stored are not stored again.

    Args:
        path: the file; its folder is created at the first append.
        fsync: whether rows are on disk before `append` returns. False leaves that to the operating system: the rows
            survive the end of the process but, for some seconds, not a loss of power.
        access: who may read the files.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, fsync: bool = True, access: FileAccess = FileAccess.OWNER
    ) -> None:
        self.path = Path(path).absolute()
        self.fsync = fsync
        self.access = access
        self._is_aside = re.compile(rf"{re.escape(self.path.stem)}\.([0-9]{{6,}}){re.escape(self.path.suffix)}")

    @property
    def pending(self) -> bool:
        """Return whether rows wait to be stored."""
        return self.size > 0

    @property
    def size(self) -> int:
        """Return the number of bytes that wait to be stored."""
        return _size(self.path) + sum(_size(file) for _number, file in self._aside())

    def append(self, *rows: Execution) -> None:
        """Keep checked rows, all of them or none.

        Raises:
            OSError: the file cannot be written; none of the rows is kept.
        """
        lines = b"".join(_line(row) for row in rows)
        self.access.make_folder(self.path.parent)
        with self._locked(".lock"):
            if _size(self.path) >= _LARGE:
                self._put_aside()
            descriptor = self.access.open(self.path, os.O_RDWR | os.O_APPEND)
            try:
                self._write(descriptor, lines)
            finally:
                os.close(descriptor)

    def _write(self, descriptor: int, lines: bytes) -> None:
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            lines = b"\n" + lines  # after a damaged line, begin a new one
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
            if self.fsync:
                os.fsync(descriptor)
                if not end:
                    _sync(self.path.parent)
        except BaseException:  # a full disk, an interruption, ...
            os.ftruncate(descriptor, end)
            raise

    def drain(self, write: Callable[[list[Execution]], object], *, wait: bool = False) -> int:
        """Pass every kept row to `write`, in order and in batches, and remove the files one by one.

        After a crash inside a file, the next drain writes its rows again; their `execution_id` makes that harmless.

        Args:
            write: stores a batch of rows. Its exception ends the drain, and the file is kept.
            wait: if another process drains, True waits until it has finished and drains what is left; False leaves
                everything to it.

        Returns:
            Number of rows passed to `write`.

        Raises:
            OSError: a file cannot be read or changed.
        """
        if not self.pending:
            return 0
        with self._locked(".drain.lock", wait=wait) as alone:
            if not alone:
                return 0
            with self._locked(".lock"):
                if _size(self.path):
                    self._put_aside()
            handed = 0
            for _number, file in self._aside():
                rows = _rows(file)
                while batch := list(islice(rows, _BATCH)):
                    write(batch)
                    handed += len(batch)
                file.unlink()
        return handed

    def _aside(self) -> list[tuple[int, Path]]:
        """Return the numbered files, each with its number, oldest first."""
        try:
            files = list(self.path.parent.iterdir())
        except OSError:  # no row was ever kept there
            return []
        found = ((self._is_aside.fullmatch(file.name), file) for file in files)
        return sorted((int(match[1]), file) for match, file in found if match)

    def _put_aside(self) -> None:
        """Give the file a number, so that the next append begins a new one. The caller holds the lock for appending."""
        if not self.path.is_file():
            raise OSError(f"{self.path} is no file")
        aside = self._aside()
        number = aside[-1][0] + 1 if aside else 1
        self.path.rename(self.path.with_name(f"{self.path.stem}.{number:06d}{self.path.suffix}"))

    @contextlib.contextmanager
    def _locked(self, suffix: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lock across processes and threads; yield False if it is taken and `wait` is False."""
        with os.fdopen(self.access.open(self.path.with_suffix(suffix), os.O_WRONLY | os.O_APPEND), "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                # Unlock explicitly: a child forked meanwhile holds the file open, and closing ours would not unlock it.
                fcntl.flock(lock, fcntl.LOCK_UN)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _rows(file: Path) -> Iterator[Execution]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.rstrip(b"\n")
            row = _row(text)
            if row is not None:
                yield row
            elif text:
                logger.warning("%s: line %d is damaged (a crash cut it short?) and is skipped", file, number)


def _line(row: Execution) -> bytes:
    fields = {**row._asdict(), "executed_at": checked_moment(row.executed_at).isoformat()}
    body = json.dumps(fields, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _row(line: bytes) -> Execution | None:
    """Return the execution in a line, or None if Rollguard did not write it or it is damaged.

    A field that only a newer Rollguard knows is left out; a field that an older one did not write has its default.
    """
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        fields: dict[str, Any] = json.loads(body)
        fields["executed_at"] = datetime.fromisoformat(fields["executed_at"]).astimezone(UTC)
        return Execution(**{name: fields[name] for name in FIELDS if name in fields})
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
