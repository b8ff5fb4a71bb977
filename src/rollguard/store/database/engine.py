"""One connection pool to one database, read and write transactions, and the driver's errors as `StoreError`s."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from rollguard.errors import (
    InvalidInput,
    NotARollguardStore,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from rollguard.judge.histogram import bucket_of
from rollguard.store.database.fork_gate import sqlite_gate
from rollguard.store.database.histograms import merged_json

_IDLE_LIMIT = 30  # seconds that a transaction with a tool's lock may be idle before PostgreSQL rolls it back
_LOCK_TOOL = sa.text(
    "SELECT set_config('lock_timeout', :patience, true), "
    "set_config('idle_in_transaction_session_timeout', :idle_limit, true), "
    "pg_advisory_xact_lock(hashtextextended(:key, 0))"
)
_URL_HELP = "use sqlite:///rollguard.db or postgresql://user:password@host/database"

# The driver's error (the beginning of an SQLSTATE, or words of SQLite's message), and what it means to the caller.
_MEANINGS: tuple[tuple[type[StoreError], tuple[str, ...], tuple[str, ...], str], ...] = (
    (NotARollguardStore, (), ("file is not a database", "malformed"), "is not a SQLite database, or is damaged"),
    (
        StoreBusy,
        ("55P03", "57014", "40"),  # also a deadlock, and what cannot be serialised
        ("database is locked", "table is locked"),
        "is locked by another process for too long",
    ),
    (StoreUnavailable, ("25P03",), (), "rolled back a transaction of this process, which was suspended for too long"),
    (StoreReadOnly, ("25006",), ("readonly database",), "is read-only; make it writable, its folder too"),
    (StoreFull, ("53100",), ("disk is full",), "has no disk space left; free some"),
    (StoreUnavailable, (), ("unable to open database file",), "cannot be opened; check that its folder exists"),
    (StoreUnavailable, ("28", "3D"), (), "refuses us; check the user, the password and the database's name"),
    (StoreUnavailable, ("08", "53", "57"), (), "does not answer; check that it runs and may be reached"),
)


class Database:
    """Transactions on one SQLite file or one PostgreSQL database.

    Args:
        url: `sqlite:///path` or `postgresql://user:password@host/database`.
        busy_timeout: seconds to wait for another process's lock before `StoreBusy` is raised.
        connect_timeout: seconds to wait for a PostgreSQL server.

    Raises:
        InvalidInput: the URL cannot be understood, or names a kind of database that is not supported.
    """

    def __init__(self, url: str, *, busy_timeout: float = 5.0, connect_timeout: int = 5) -> None:
        self.url = _parse_url(url)
        self.dialect = self.url.get_backend_name()
        self.busy_timeout = busy_timeout
        # Threads share the only connection of a database in memory, so they take turns.
        self._turn = threading.RLock() if self._in_memory else contextlib.nullcontext()
        self._gate = sqlite_gate.inside if self.path is not None else contextlib.nullcontext
        self._prepare: Callable[[], None] | None = None
        self._preparing = threading.local()
        self._before_reading: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._before_closing: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._engine = self._sqlite() if self.dialect == "sqlite" else self._postgresql(connect_timeout)
        if self.path is not None:
            sqlite_gate.close_before_fork(self)
        else:
            ours = weakref.ref(self._engine)
            os.register_at_fork(after_in_child=lambda: _forget_connections(ours()))

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL and for a database in memory."""
        if self.dialect != "sqlite" or self._in_memory:
            return None
        return Path(str(self.url.database).removeprefix("file:").partition("?")[0])

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection to read, with everything that this process has recorded.

        On SQLite its statements share one consistent view of the data. On PostgreSQL each statement has its own, as it
        would in a transaction of the default isolation level, so Rollguard begins none.
        """
        self._call_before_reading()
        self._make_ready()
        options: Any = {} if self.dialect == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
        with (
            self._turn,
            self._gate(),
            self._translated(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def write(self, *, durable: bool = True, remade: bool = False) -> Iterator[Connection]:
        """Open a write transaction. All of it happens, or nothing.

        Args:
            durable: survive the loss of power as well as that of the process (SQLite; PostgreSQL's server decides).
            remade: Rollguard repeats these writes if the server loses its power, so PostgreSQL need not wait for its
                disk. A later commit is never kept without them.
        """
        self._make_ready()
        options: Any = {"rollguard_write": True, "rollguard_durable": durable}
        with (
            self._turn,
            self._gate(),
            self._translated(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            if remade and self.dialect == "postgresql":
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    def before_first_use(self, prepare: Callable[[], None]) -> None:
        """Call a function before the next transaction, and before every later one until it succeeds."""
        self._prepare = prepare

    def _make_ready(self) -> None:
        prepare = self._prepare
        if prepare is not None and not getattr(self._preparing, "now", False):
            self._preparing.now = True
            try:
                prepare()
                self._prepare = None
            finally:
                self._preparing.now = False

    def before_reading(self, call: Callable[[], None]) -> None:
        """Call a method, for as long as its object lives, before this process reads from the database or closes it."""
        self._before_reading.append(weakref.WeakMethod(call))

    def before_closing(self, call: Callable[[], None]) -> None:
        """Call a method, for as long as its object lives, before this process closes the database."""
        self._before_closing.append(weakref.WeakMethod(call))

    def _call_before_reading(self) -> None:
        _call(self._before_reading)

    def lock_tool(self, connection: Connection, tool_name: str) -> None:
        """Lock a tool's state until the transaction ends (SQLite has one writer anyway).

        It waits no longer than the busy timeout. PostgreSQL takes the lock from a suspended process, so that a machine
        without power or a stopped process does not keep the others waiting.

        Raises:
            StoreBusy: another process holds the lock for longer than the busy timeout.
        """
        if self.dialect == "postgresql":
            connection.execute(
                _LOCK_TOOL,
                {
                    "key": f"rollguard:{tool_name}",
                    "patience": f"{max(1, round(self.busy_timeout * 1000))}ms",
                    "idle_limit": f"{_IDLE_LIMIT}s",
                },
            )

    def close(self) -> None:
        """Close every connection. The next use opens new ones."""
        self._call_before_reading()
        _call(self._before_closing)
        try:
            with self._gate():
                self._engine.dispose()
        except StoreUnavailable:  # what a forked child may not use it may not close either
            self._engine.dispose(close=False)

    def close_before_fork(self) -> None:
        """Close every connection to a SQLite file; see `rollguard.store.database.fork_gate`."""
        self._engine.dispose()

    # --- engines ---------------------------------------------------------------------------------------------------

    @property
    def _in_memory(self) -> bool:
        return self.dialect == "sqlite" and self.url.database in (None, "", ":memory:")

    def _sqlite(self) -> Engine:
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreError(f"SQLite 3.35 or newer is needed; this Python has {sqlite3.sqlite_version}")
        shared: dict[str, Any] = {"poolclass": StaticPool} if self._in_memory else {}
        engine = sa.create_engine(
            self.url, connect_args={"check_same_thread": False, "timeout": self.busy_timeout}, **shared
        )

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # Rollguard begins its transactions itself
            connection.execute("PRAGMA foreign_keys = ON")
            connection.create_function("rollguard_bucket", 1, _bucket_of, deterministic=True)
            connection.create_function("rollguard_merged", 2, merged_json, deterministic=True)
            if not self._in_memory and not self._opened_read_only:
                _switch_to_wal(connection, time.monotonic() + self.busy_timeout)

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            options = connection.get_execution_options()
            if not options.get("rollguard_write"):
                connection.exec_driver_sql("BEGIN")
                return
            level = "FULL" if options.get("rollguard_durable") else "NORMAL"
            connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    @property
    def _opened_read_only(self) -> bool:
        return "mode=ro" in self.url.render_as_string()

    def _postgresql(self, connect_timeout: int) -> Engine:
        try:
            return sa.create_engine(
                self.url.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                # Compiling one of our statements takes longer than running it.
                connect_args={"connect_timeout": connect_timeout, "options": "-c timezone=UTC -c jit=off"},
            )
        except ModuleNotFoundError as error:
            raise StoreError("PostgreSQL needs its driver: pip install 'rollguard[postgres]'") from error

    # --- errors ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{error.object!r} is not valid Unicode, so it cannot be stored or searched for"
            ) from error
        except IntegrityError as error:
            raise StoreConflict(f"{self}: the database refused the change: {error.orig}") from error
        except DBAPIError as error:
            raise self._store_error(error.orig or error) from error
        except (sqlite3.Error, sa.exc.TimeoutError) as error:
            raise self._store_error(error) from error

    def _store_error(self, error: BaseException) -> StoreError:
        text = str(error).strip() or type(error).__name__
        state: str = getattr(error, "sqlstate", None) or ""
        for kind, states, words, advice in _MEANINGS:
            if (state and state.startswith(states)) or any(word in text for word in words):
                return kind(f"{self} {advice} ({text})")
        if not state or isinstance(error, sqlite3.OperationalError):
            return StoreUnavailable(f"{self} does not answer; check that it runs and may be reached ({text})")
        return StoreError(f"{self}: {text}")


def _call(methods: list[weakref.WeakMethod[Callable[[], None]]]) -> None:
    for method in methods:
        call = method()
        if call is not None:
            call()


def _bucket_of(duration_ms: object) -> int:
    """Return the bucket of a row's duration. Text, which SQLite accepts in any column, counts as none."""
    return bucket_of(duration_ms if isinstance(duration_ms, int | float) else None)


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = {"postgres": "postgresql"}.get(parsed.drivername, parsed.get_backend_name())
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise InvalidInput(f"{url!r} is not a database URL; {_URL_HELP}") from error
    if backend not in ("sqlite", "postgresql") or "+" in parsed.drivername.removesuffix("+psycopg"):
        raise InvalidInput(f"{parsed.drivername!r} is not a supported database; {_URL_HELP}")
    return parsed.set(drivername=backend)


def _switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to WAL, so that readers and the writer do not wait for each other; retry, as no busy timeout covers it."""
    while True:
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _forget_connections(engine: Engine | None) -> None:
    """Drop the connections in a forked child: it must neither use nor close those of its parent."""
    if engine is not None:
        engine.dispose(close=False)
