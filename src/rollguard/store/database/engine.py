"""One connection pool to one database, read and write transactions, and the driver's errors as `StoreError`s."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool, StaticPool

from rollguard.errors import (
    InvalidInput,
    InvalidSetting,
    NotARollguardStore,
    SchemaDamaged,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
)
from rollguard.model.file_access import FileAccess
from rollguard.store.database.driver import limited
from rollguard.store.database.driver_errors import meaning_of
from rollguard.store.database.fork_gate import sqlite_gate
from rollguard.store.database.histograms import bucket_of_row, merged_json
from rollguard.store.database.postgresql_pool import postgresql_engine
from rollguard.store.database.sqlite_file import SqliteFile, size_by, switch_to_wal, text_of
from rollguard.store.database.url import Secrets, checked_schema, parse_url, session_options, shown

_IDLE_LIMIT = 30  # seconds that a transaction with a tool's lock may be idle before PostgreSQL rolls it back
_LOCK_TOOL = sa.text(
    "SELECT set_config('lock_timeout', :patience, true), "
    "set_config('idle_in_transaction_session_timeout', :idle_limit, true), "
    "pg_advisory_xact_lock(hashtextextended(concat(current_schema(), ':', CAST(:key AS text)), 0))"
)

_RENEW_AFTER = (StoreUnavailable, StoreReadOnly, NotARollguardStore, SchemaDamaged)


class Database:
    """Transactions on one SQLite file or one PostgreSQL database.

    Args:
        url: `sqlite:///path` or `postgresql://user:password@host/database`.
        busy_timeout: seconds to wait for another process's lock before `StoreBusy` is raised.
        connect_timeout: seconds to wait for a PostgreSQL server.
        access: who may read a SQLite file that is created; the files that SQLite keeps beside it have the same mode.
        create: whether a SQLite file that does not exist is made.
        schema: the PostgreSQL schema that holds the store; by default what the URL's `options` or the server say.

    Raises:
        InvalidInput: the URL cannot be understood, or names a kind of database that is not supported.
        InvalidSetting: `busy_timeout` or `schema` is invalid.

    Attributes:
        connect_options: the `options` of every connection to PostgreSQL.
    """

    def __init__(
        self,
        url: str,
        *,
        busy_timeout: float = 5.0,
        connect_timeout: int = 5,
        access: FileAccess = FileAccess.OWNER,
        create: bool = True,
        schema: str | None = None,
    ) -> None:
        self.access = access
        self.url = parse_url(url)
        self.secrets = Secrets(self.url)
        self.dialect = self.url.get_backend_name()
        self.schema = checked_schema(schema, self.url)
        self.connect_options = session_options(self.url, self.schema)
        if isinstance(busy_timeout, bool) or not isinstance(busy_timeout, int | float) or not 0 <= busy_timeout < 1e6:
            raise InvalidSetting("busy_timeout", f"{busy_timeout!r} is not a number of seconds")
        self.busy_timeout = busy_timeout
        self._file: SqliteFile | None = None
        if self.dialect == "sqlite" and not self._in_memory:
            path = Path(str(self.url.database).removeprefix("file:").partition("?")[0])
            made = None if "mode=r" in self.url.render_as_string() else access
            # absolute, for the process may change its folder
            self._file = SqliteFile(path.absolute(), str(self), made, create=create)
        # Threads share the only connection of a database in memory, so they take turns.
        self._turn = threading.RLock() if self._in_memory else contextlib.nullcontext()
        self._gate = sqlite_gate.inside if self.path is not None else contextlib.nullcontext
        self._prepare: Callable[[], None] | None = None
        self._preparing = threading.local()
        self._before_reading: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._before_closing: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._when_replaced: list[weakref.WeakMethod[Callable[[], None]]] = []
        self.check_replaced: Callable[[bool], None] | None = None
        self._closed = [0]  # times; a list, which does not keep this object alive
        if self.dialect == "sqlite":
            self._engine = self._sqlite()
        else:
            options = {"connect_timeout": connect_timeout, "options": self.connect_options}
            self._engine = postgresql_engine(self.url, options, patience=busy_timeout, closed=self._closed)
            # Of a store that nobody closed, or that a thread used once more after it was closed.
            weakref.finalize(self, self._engine.dispose).atexit = False
        if self.path is not None:
            for other in sqlite_gate.connected():
                # Locks belong to the process: beside a connection to a former file, SQLite would take its log for ours.
                if isinstance(other, Database):
                    with contextlib.suppress(StoreError):  # its own next use says so
                        other.renew_if_replaced()
            sqlite_gate.close_before_fork(self)
        else:
            ours = weakref.ref(self._engine)
            os.register_at_fork(after_in_child=lambda: _forget_connections(ours()))

    def __str__(self) -> str:
        return shown(self.url) if self.schema is None else f"{shown(self.url)} (schema {self.schema})"

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL and for a database in memory."""
        return None if self._file is None else self._file.path

    @contextlib.contextmanager
    def read(self, *, within: float | None = None) -> Iterator[Connection]:
        """Open a connection to read, with everything that this process has recorded.

        On SQLite its statements share one consistent view of the data. On PostgreSQL each statement has its own, as it
        would in a transaction of the default isolation level, so Rollguard begins none.

        Args:
            within: seconds that the statements may take; then the database gives up, and `StoreBusy` is raised.
        """
        self._call_before_reading()
        self.renew_if_replaced()
        self._make_ready()
        options: Any = {} if self.dialect == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
        with (
            self._turn,
            self._gate(),
            self._translated(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
            contextlib.nullcontext() if within is None else limited(connection, within),
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
        self.renew_if_replaced()
        self._make_ready()
        options: Any = {"rollguard_write": True, "rollguard_durable": durable}
        connecting = self._engine.connect
        with self._turn, self._gate(), self._translated(), connecting().execution_options(**options) as connection:
            opened, sqlite = connection.info, connection.connection.driver_connection

            def refuse_ghost(*, committed: bool) -> None:
                if (file := self._file) is not None:
                    file.refuse_ghost(opened["file"], opened.get("log"), partial(size_by, sqlite), committed=committed)

            with connection.begin():
                if remade and self.dialect == "postgresql":
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
                refuse_ghost(
                    committed=False
                )  # a commit may write the log into a file that was cut off, which hides that
            refuse_ghost(committed=True)

    def renew_if_replaced(self) -> None:
        """On SQLite: if the file is another one than was opened, or could not be used, open it anew.

        It costs two microseconds, so it precedes every use.

        Raises:
            StoreUnavailable: the file is gone, or what is there now cannot be used.
        """
        file = self._file
        if file is None or file.is_same():
            return
        if sqlite_gate.am_inside:  # in a transaction, which has other connections open
            raise StoreUnavailable(f"{self} was replaced during a transaction; try again")
        with sqlite_gate.alone():
            if file.is_same():  # another thread was faster
                return
            file.renew(sqlite_gate.close_all)
            file.broken = True  # until it is checked
            try:
                if self.check_replaced is not None:
                    self.check_replaced(file.shrunk)
                file.broken = file.shrunk = False
            finally:
                file.closed()
        replaced, file.replaced = file.replaced, False
        if replaced:
            _call(self._when_replaced)

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

    def when_replaced(self, call: Callable[[], None]) -> None:
        """Call a method, for as long as its object lives, after the SQLite file was replaced by another."""
        self._when_replaced.append(weakref.WeakMethod(call))

    def _call_before_reading(self) -> None:
        _call(self._before_reading)

    def connect_sqlite(self, patience: float) -> sqlite3.Connection:
        """Return a connection to the SQLite file that is not of the pool: to read, for any one thread at a time.

        Args:
            patience: seconds that it waits for a lock.

        Raises:
            InvalidInput: the database is no file.
        """
        if self._file is None:
            raise InvalidInput(f"{self} is no SQLite file")
        return self._file.connect(patience)

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
                    **{"patience": f"{max(1, round(self.busy_timeout * 1000))}ms", "idle_limit": f"{_IDLE_LIMIT}s"},
                },
            )

    def close(self) -> None:
        """Close every connection. The next use opens new ones."""
        self._call_before_reading()
        _call(self._before_closing)
        try:
            with self._gate():
                self._dispose()
        except StoreUnavailable:  # what a forked child may not use it may not close either
            self._engine.dispose(close=False)

    def close_before_fork(self) -> None:
        """Close every connection to a SQLite file; see `fork_gate`."""
        self._dispose()

    def _dispose(self) -> None:
        pool = self._engine.pool
        is_open = not isinstance(pool, QueuePool) or pool.checkedin() + pool.checkedout() > 0
        with self.closing() if is_open else contextlib.nullcontext():
            before = self._engine.pool
            self._closed[0] += 1
            self._engine.dispose()
            self._closed[0] += 1
            before.dispose()  # what a thread has given back to it meanwhile
            if self._file is not None:
                self._file.closed()

    def closing(self) -> contextlib.AbstractContextManager[None]:
        """Close connections to a SQLite file inside: no other process opens or replaces it meanwhile."""
        return contextlib.nullcontext() if self._file is None else self._file.lock.closing()

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

        @sa.event.listens_for(engine, "do_connect")
        def connect(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
            if self._file is None:
                return None
            if not options.get("uri"):
                arguments[0], options["uri"] = f"{self._file.path.as_uri()}?mode=rwc", True
            if not self._file.may_create:
                arguments[0] = arguments[0].replace("?mode=rwc", "?mode=rw")
            connection, record.info["file"] = self._file.open(
                lambda: dialect.connect(*arguments, **options), lambda opened: prepare(opened, record)
            )
            return connection

        def prepare(connection: sqlite3.Connection, record: Any) -> None:
            connection.isolation_level = None  # Rollguard begins its transactions itself
            connection.text_factory = text_of
            connection.execute("PRAGMA foreign_keys = ON")
            connection.create_function("rollguard_bucket", 1, bucket_of_row, deterministic=True)
            connection.create_function("rollguard_merged", 2, merged_json, deterministic=True)
            if self._file is not None and not self._opened_read_only:
                switch_to_wal(connection, time.monotonic() + self.busy_timeout)
                record.info["log"] = self._file.opened_log()

        if self._file is None:
            sa.event.listen(engine, "connect", prepare)

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

    # --- errors ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{error.object!r} is not valid Unicode, so it cannot be stored or searched for"
            ) from error
        except OverflowError as error:
            raise InvalidInput(f"a number is too large to be stored or searched for: {error}") from error
        except IntegrityError as error:
            self.secrets.clean(error)
            raise StoreConflict(f"{self}: the database refused the change: {error.orig}") from error
        except DBAPIError as error:
            self.secrets.clean(error)
            raise self._store_error(error.orig or error) from error
        except sa.exc.StatementError as error:  # a value that its column's type cannot take
            raise InvalidInput(f"a value cannot be stored or searched for: {error.orig}") from error
        except sa.exc.TimeoutError as error:
            raise StoreBusy(f"{self}: other threads use all connections of this process for too long") from error
        except sqlite3.Error as error:
            raise self._store_error(error) from error

    def _store_error(self, error: BaseException) -> StoreError:
        meant = meaning_of(error, str(self))
        if self._file is not None and type(meant) in _RENEW_AFTER:
            self._file.broken = True  # a new connection may find the file repaired, or writable again
        return meant


def _call(methods: list[weakref.WeakMethod[Callable[[], None]]]) -> None:
    for method in methods:
        call = method()
        if call is not None:
            call()


def _forget_connections(engine: Engine | None) -> None:
    """Drop the connections in a forked child: it must neither use nor close those of its parent."""
    if engine is not None:
        engine.dispose(close=False)
