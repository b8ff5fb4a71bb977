"""What happens to the processes of a soak, each at a moment that chance chooses."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from rollguard.errors import StoreUnavailable
from rollguard.store.database.sqlite_file import SqliteFile
from tests.registry import hostile

if TYPE_CHECKING:
    from benchmarks.databases import Postgres
    from benchmarks.soak import Crowd

CALM = 8.0  # seconds before the end in which nothing more happens
JUMP = timedelta(minutes=5)

# Columns and values of rows that other programs insert; the database takes or refuses each.
_ROWS: tuple[dict[str, Any], ...] = (
    {"success": False, "error": "\x1b[2J\r\nrolled back: all is well\u202e" * 50, "error_type": "Forged\nLine"},
    {"success": False, "error": "x" * 1_000_000},
    {"success": False, "error": b"\xff\xfe"},
    {"success": True, "duration_ms": -1.0},
    {"success": True, "duration_ms": float("inf")},
    {"success": True, "duration_ms": 1e300},
    {"success": 7},
    {"success": True, "parameters": "{not json"},
    {"success": True, "executed_at": "the day after tomorrow"},
    {"success": True, "executed_at": "9999-12-31 23:59:59"},
    {"success": True, "version_number": -3},
    {"success": True, "version_number": 10**6},
)


class Troubles:
    """Lets things go wrong until the end, and counts them.

    Args:
        crowd: whose processes they happen to.
        server: the PostgreSQL server; None with SQLite.
        chance: decides what, when and to whom.
    """

    def __init__(self, crowd: Crowd, server: Postgres | None, chance: random.Random) -> None:
        self._crowd, self._server, self._chance = crowd, server, chance
        self.counts: Counter[str] = Counter()
        self._former_log = 0  # the inode of the log of the file that a backup was put in the place of
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._troubles: list[Callable[[], object]] = [self.kill, self.suspend, self.fill_the_disk, self.insert_a_row]
        self._troubles += (
            [self.move_away, self.restore, self.empty] if server is None else [self.end_connections, self.crash]
        )

    def until(self, end: float) -> None:
        """Let one thing after the other go wrong; return at the end, with everything back in its place."""
        hostile.put_all(self._crowd.folder, self._crowd.folder.parent / "ran")
        self.counts["hostile files"] = hostile.COUNT
        while time.monotonic() < end - CALM:
            self._chance.choice(self._troubles)()
            time.sleep(self._chance.uniform(0.1, 1.5))
            self._do_what_is_due()
            self._crowd.replace_the_dead()
        self._do_what_is_due(everything=True)
        while time.monotonic() < end:
            time.sleep(0.2)
            self._crowd.replace_the_dead()

    # --- to processes ----------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill a process."""
        self.counts["killed"] += 1
        self._one().kill()

    def suspend(self) -> None:
        """Suspend a process for some seconds."""
        self.counts["suspended"] += 1
        process = self._one()
        _signal(process, signal.SIGSTOP)
        self._in(self._chance.uniform(0.5, 8.0), lambda: _signal(process, signal.SIGCONT))

    def fill_the_disk(self) -> None:
        """Let some processes write no further than the first 4 KiB of any file, for a second."""
        self.counts["full disks"] += 1
        for process in self._chance.sample(list(self._crowd.running.values()), 6):
            _limit(process, 4096)
            self._in(1.0, lambda process=process: _limit(process, resource.RLIM_INFINITY))  # type: ignore[misc]

    # --- to the database -------------------------------------------------------------------------------------------

    def insert_a_row(self) -> None:
        """Insert a row as another program might."""
        row = {"tool_name": f"tool_{self._chance.randrange(12)}", **self._chance.choice(_ROWS)}
        names = ", ".join(row)
        try:
            if self._server is None:
                if (plain := self._connected()) is None:
                    return
                with contextlib.closing(plain), plain:
                    plain.execute(
                        f"INSERT INTO tool_executions ({names}) VALUES ({', '.join('?' * len(row))})", [*row.values()]
                    )
            else:
                with psycopg.connect(self._crowd.url) as connection:
                    values = ", ".join(["%s"] * len(row))
                    connection.execute(
                        f"INSERT INTO tool_executions ({names}) VALUES ({values})".encode(), [*row.values()]
                    )
        except (sqlite3.Error, psycopg.Error, OverflowError, ValueError):
            self.counts["hostile rows that were refused"] += 1
        else:
            self.counts["hostile rows that were taken"] += 1

    def move_away(self) -> None:
        """Move the SQLite file away, and back a little later."""
        self.counts["files moved away"] += 1
        aside = self._file.with_name("aside.db")
        self._file.rename(aside)
        time.sleep(self._chance.uniform(0.1, 1.0))
        aside.replace(self._file)

    def restore(self) -> None:
        """Put a backup in the place of the SQLite file. Meanwhile nobody writes, or it would be lost with the file."""
        with self._all_suspended():
            if (copy := self._backup()) is not None:
                self.counts["backups restored"] += 1
                self._put(copy)

    def empty(self) -> None:
        """Cut the SQLite file to nothing, and put a backup in its place a little later."""
        with self._all_suspended():
            copy = self._backup()
            if copy is not None:
                os.truncate(self._file, 0)
        if copy is not None:
            self.counts["files emptied"] += 1
            time.sleep(self._chance.uniform(0.1, 1.0))
            self._put(copy)

    def end_connections(self) -> None:
        """End some connections of the PostgreSQL server."""
        self.counts["connections ended"] += 1
        self._server_of().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < 0.3"
        )

    def crash(self) -> None:
        """Stop the PostgreSQL server as a crash would, and start it a little later."""
        self.counts["crashes of the server"] += 1
        server = self._server_of()
        server.crash()
        time.sleep(self._chance.uniform(0.1, 1.5))
        server.start_again()

    # --- inside ----------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return Path(self._crowd.url.removeprefix("sqlite:///"))

    def _server_of(self) -> Postgres:
        assert self._server is not None
        return self._server

    def _one(self) -> Any:
        return self._chance.choice(list(self._crowd.running.values()))

    def _in(self, seconds: float, what: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, what))

    def _do_what_is_due(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        due = [what for at, what in self._later if everything or at <= now]
        self._later = [] if everything else [(at, what) for at, what in self._later if at > now]
        for what in due:
            what()

    @contextlib.contextmanager
    def _all_suspended(self) -> Iterator[None]:
        processes = list(self._crowd.running.values())
        for process in processes:
            _signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                _signal(process, signal.SIGCONT)

    def _put(self, copy: Path) -> None:
        self._former_log = self._log()
        copy.replace(self._file)

    def _log(self) -> int:
        """Return the inode of the log beside the file; 0 without one. Its header changes when it is begun anew."""
        try:
            return self._file.with_name(f"{self._file.name}-wal").stat().st_ino
        except FileNotFoundError:
            return 0

    def _connected(self) -> sqlite3.Connection | None:
        """Connect to the SQLite file; None while a suspended process opens it, or a former file's log is beside it.

        SQLite would write that log into the present file.
        """
        file = SqliteFile(self._file, "it")
        try:
            with file.lock.alone():
                if self._former_log == self._log() != 0 or file.is_used_for_another():
                    return None
                plain = sqlite3.connect(self._file, timeout=5)
                plain.execute("SELECT 1 FROM sqlite_master").fetchone()  # which opens the log
        except (StoreUnavailable, sqlite3.DatabaseError):  # or half of it is in a log that a suspended process holds
            return None
        return plain

    def _backup(self) -> Path | None:
        """Return a copy of all that is committed; None if the file cannot be read now."""
        copy = self._file.with_name("backup.db")
        copy.unlink(missing_ok=True)
        if (plain := self._connected()) is None:
            return None
        try:
            with contextlib.closing(plain):
                plain.execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.DatabaseError:
            return None
        return copy


def clock_jumps(chance: random.Random) -> None:
    """Let the clock that Rollguard reads in this process jump back and forth, every few seconds."""
    real, jump = datetime, {"by": timedelta(), "until": 0.0}

    class Jumps(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Jumping(real, metaclass=Jumps):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            if time.monotonic() > jump["until"]:
                jump.update(by=chance.choice((-JUMP, timedelta(), JUMP)), until=time.monotonic() + chance.uniform(1, 5))
            return real.now(tz) + jump["by"]

    for name, module in list(sys.modules.items()):
        if name.startswith("rollguard.") and getattr(module, "datetime", None) is real:
            module.datetime = Jumping  # type: ignore[attr-defined]


def _signal(process: Any, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _limit(process: Any, size: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
