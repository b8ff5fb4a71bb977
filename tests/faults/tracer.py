"""Counts every step that a process makes on its files, its database and the outside, and strikes at one of them."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from rollguard.errors import ActuatorFailed
from rollguard.registry.deploy.actuators import Request
from rollguard.registry.folder import folder, tree

_FILES = ("open", "write", "fsync", "fchmod", "fchown", "pwrite", "replace", "unlink", "mkdir", "rename", "rmdir")
_STATEMENTS = ("do_execute", "do_execute_no_params", "do_executemany", "do_commit", "do_rollback")

# After these the world is another; after any other step it is as it is before the next one.
_TELLING = ("file: replace", "file: rename", "file: exchange", "file: rmdir", "database: commit")

# What goes wrong with a file, step by step; a full disk is the most frequent.
_ERRNO = {"replace": errno.EACCES, "unlink": errno.EACCES, "fsync": errno.EIO, "fchmod": errno.EPERM}


class Tracer:
    """Strikes when the step numbered `at` is reached.

    Args:
        at: which step; from 1.
        fault: `kill`, `stop` (the process stands still until it is told to go on), `error` (that step alone fails) or
            `away` (the database fails from that step on).
        dialect: whose errors the database raises.

    Attributes:
        reached: how many steps of each name there were.
        struck: the name of the step that was struck; None while none was.
    """

    def __init__(self, at: int, fault: str, dialect: str) -> None:
        self._at, self._fault, self._dialect = at, fault, dialect
        self._armed = False
        self.reached: Counter[str] = Counter()
        self.struck: str | None = None

    def install(self) -> None:
        """Wrap what the process reaches files and databases by. For the life of the process."""
        for name in _FILES:
            setattr(os, name, self._around(f"file: {name}", getattr(os, name)))
        fcntl.flock = self._around("file: flock", fcntl.flock)
        folder.open = self._open  # type: ignore[attr-defined]
        tree._exchange = self._around("file: exchange", tree._exchange)
        for name in _STATEMENTS:
            step = name.removeprefix("do_").partition("_")[0].removesuffix("many")
            setattr(DefaultDialect, name, self._around(f"database: {step}", getattr(DefaultDialect, name)))

    def arm(self) -> None:
        """Count from here on."""
        self._armed = True

    def disarm(self) -> None:
        """Whatever failed works again."""
        self._armed = False

    def reach(self, step: str) -> None:
        """A step is reached; its name ends with `before` or `after`."""
        if not self._armed:
            return
        self.reached[step] += 1
        number = self.reached.total()
        if number == self._at:
            self.struck = step
            if self._fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._fault == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
        if self._fault == "stop":
            return
        away = self._fault == "away" and number > self._at and step.startswith("database") and "rollback" not in step
        if number == self._at or (away and self.struck is not None):
            self._fail(step)

    def _fail(self, step: str) -> None:
        kind, name, moment = step.replace(":", "").split()
        if kind == "file" and moment == "before" and self._fault == "error":
            number = _ERRNO.get(name, errno.ENOSPC)
            raise OSError(number, os.strerror(number))
        if kind == "outside" and self._fault == "error":
            raise ActuatorFailed("the line is dead", "")
        if kind == "database" and name != "rollback" and (moment == "before" or name == "commit"):
            raise self._gone()

    def _gone(self) -> Exception:
        if self._dialect == "sqlite":
            return sqlite3.OperationalError("disk I/O error")
        import psycopg

        return psycopg.OperationalError("server closed the connection unexpectedly")

    def _around(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*args: Any, **keywords: Any) -> Any:
            self.reach(f"{step} before")
            result = call(*args, **keywords)
            if step in _TELLING:
                self.reach(f"{step} after")
            return result

        return traced

    def _open(self, file: Any, mode: str, **keywords: Any) -> Any:
        opened = builtins.open(file, mode, **keywords)  # noqa: PTH123, SIM115 - closed by its user
        return opened if mode == "rb" else _Halved(opened, self)


class _Halved:
    """A file that is written in two halves, with a step between them."""

    def __init__(self, file: Any, tracer: Tracer) -> None:
        self._file, self._tracer = file, tracer

    def __enter__(self) -> _Halved:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._tracer.reach("file: content before")
        self._file.write(content[half:])


class Outside:
    """An actuator whose orders are kept in a file, as the outside would; what has the highest number runs."""

    kind = "outside"
    patience = 5.0

    def __init__(self, log: Path, tracer: Tracer | None) -> None:
        self._log, self._tracer = log, tracer

    def put(self, request: Request) -> str | None:
        if self._tracer is not None:
            self._tracer.reach("outside: put before")
        with self._log.open("a") as log:
            log.write(f"{request.sequence} {request.version.version_number} {request.key}\n")
        if self._tracer is not None:
            self._tracer.reach("outside: put after")
        return "done"

    def running(self, *, heedless: bool = False) -> int | None:
        """The version that runs outside; `heedless` where it does what it is told last, out of date or not."""
        if not self._log.exists():
            return None
        lines = [line.split() for line in self._log.read_text().splitlines()]
        orders = [(int(sequence), int(version)) for sequence, version, _ in lines]
        return (orders[-1] if heedless else max(orders))[1]
