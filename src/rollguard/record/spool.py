"""Executions that could not be stored yet: an append-only file of checksummed lines, shared by processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class Spool:
    """A file that holds executions while the database is away.

    Each line is its checksum and the execution as JSON, on disk before `append` returns. A line that a crash cut short
    is skipped and reported. Processes on one machine share a spool: they take turns by a lock on a file beside it.

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
        except FileNotFoundError:
            return False

    def append(self, row: dict[str, Any]) -> None:
        """Keep one checked row.

        Raises:
            OSError: the file cannot be written.
        """
        body = json.dumps({**row, "executed_at": row["executed_at"].isoformat()}, separators=(",", ":")).encode()
        with self._alone(), self.path.open("ab") as file:
            if file.tell() and not self._ends_whole():
                file.write(b"\n")  # a torn line stays torn; ours begins on a line of its own
            file.write(b"%08x %b\n" % (zlib.crc32(body), body))
            file.flush()
            os.fsync(file.fileno())

    def drain(self, write: Callable[[list[dict[str, Any]]], object]) -> int:
        """Hand every kept row, in order, to `write`, and forget them once it returns.

        A crash between the two makes the next drain write them again; their `execution_id` makes that harmless.

        Returns:
            How many rows were handed over.
        """
        if not self.pending:
            return 0
        with self._alone():
            rows = list(self._rows())
            if rows:
                write(rows)
            self.path.write_bytes(b"")
        return len(rows)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(self.path.read_bytes().splitlines(), start=1):
            checksum, _, body = line.partition(b" ")
            if checksum != b"%08x" % zlib.crc32(body):
                logger.warning("%s: line %d is damaged (a crash cut it short) and is skipped", self.path, number)
                continue
            row = json.loads(body)
            row["executed_at"] = datetime.fromisoformat(row["executed_at"])
            yield row

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
