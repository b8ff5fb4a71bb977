"""Executions that could not be stored yet: an append-only file of checksummed lines, shared by processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_BATCH = 1_000


class Spool:
    """A file that holds executions while the database is away.

    Each line is its checksum and the execution as JSON, on disk before `append` returns. A line that a crash cut short
    is skipped and reported. Processes on one machine share a spool: appending takes turns, and one of them drains it.
    The locks are on files beside it, and nobody holds the one for appending while the database is asked.

    Args:
        path: the file; its folder is made when it is first needed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    @property
    def pending(self) -> bool:
        """Whether anything waits to be stored."""
        try:
            return self.path.stat().st_size > 0
        except OSError:
            return False

    def append(self, *rows: dict[str, Any]) -> None:
        """Keep checked rows, all of them or, when the disk fails half-way, the first ones.

        Raises:
            OSError: the file cannot be written.
        """
        line = b"".join(_line(row) for row in rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(".lock"), self.path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = b"\n" + line  # a torn line stays torn; ours begins on a line of its own
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            if not end:
                _sync(self.path.parent)

    def drain(self, write: Callable[[list[dict[str, Any]]], object], *, wait: bool = False) -> int:
        """Hand every kept row, in order, to `write`, some at a time, and forget them once it has taken them all.

        A crash before the end makes the next drain write them again; their `execution_id` makes that harmless.

        Args:
            write: takes some rows; what it raises ends the drain, and nothing is forgotten.
            wait: while somebody else drains, True waits until that is done and hands over what is left; False leaves
                everything to them.

        Returns:
            How many rows were handed over.

        Raises:
            OSError: the file cannot be read or changed.
        """
        if not self.pending:
            return 0
        with self._locked(".drain.lock", wait=wait) as alone:
            if not alone:
                return 0
            with self._locked(".lock"):
                end = self.path.stat().st_size
            if not end:  # whom we waited for has handed over everything
                return 0
            rows = self._rows(end)
            handed = 0
            while batch := list(islice(rows, _BATCH)):
                write(batch)
                handed += len(batch)
            with self._locked(".lock"):
                self._drop(end)
        return handed

    def _rows(self, end: int) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            number = 0
            while file.tell() < end:
                number += 1
                line = file.readline().rstrip(b"\n")
                row = _row(line)
                if row is None and line:
                    logger.warning("%s: line %d is damaged (a crash cut it short) and is skipped", self.path, number)
                elif row is not None:
                    yield row

    def _drop(self, end: int) -> None:
        """Forget the first `end` bytes; what was appended since stays."""
        with self.path.open("rb+") as file:
            file.seek(end)
            rest = file.read()
            if not rest:
                file.truncate(0)
                return
        shorter = self.path.with_suffix(".rest")
        with shorter.open("wb") as file:
            file.write(rest)
            file.flush()
            os.fsync(file.fileno())
        shorter.replace(self.path)

    @contextlib.contextmanager
    def _locked(self, suffix: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lock that other processes and threads respect; False where it is taken and `wait` is False."""
        with self.path.with_suffix(suffix).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                # Said aloud: a child forked meanwhile holds the file open too, and closing ours would release nothing.
                fcntl.flock(lock, fcntl.LOCK_UN)


def _line(row: dict[str, Any]) -> bytes:
    moment = row["executed_at"].astimezone(UTC).isoformat()
    body = json.dumps({**row, "executed_at": moment}, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _row(line: bytes) -> dict[str, Any] | None:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    row: dict[str, Any] = json.loads(body)
    row["executed_at"] = datetime.fromisoformat(row["executed_at"])
    return row


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
