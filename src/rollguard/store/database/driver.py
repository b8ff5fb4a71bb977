"""The driver's own connection, for statements that run faster without SQLAlchemy."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_COPIED = 10  # rows; fewer are as soon inserted
_STEPS = 1_000  # instructions of SQLite between two looks at the clock


@contextlib.contextmanager
def driver(connection: Connection, statement: str) -> Iterator[Any]:
    """Return the connection of sqlite3 or psycopg under one of SQLAlchemy; its errors become SQLAlchemy's.

    Args:
        statement: the statement that an error shows.
    """
    dbapi: Any = connection.dialect.loaded_dbapi
    try:
        yield connection.connection.driver_connection
    except dbapi.Error as error:
        raise sa.exc.DBAPIError.instance(statement, None, error, dbapi.Error, dialect=connection.dialect) from error


def insert_many(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns. On PostgreSQL COPY takes half the time of a statement for each."""
    if connection.dialect.name != "postgresql" or len(rows) < _COPIED:
        connection.execute(sa.insert(table), rows)
        return
    names = list(rows[0])
    impls = [table.c[name].type.dialect_impl(connection.dialect) for name in names]
    stored = [impl.bind_processor(connection.dialect) or _as_it_is for impl in impls]
    copy = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
    with driver(connection, copy) as psycopg, psycopg.cursor() as cursor, cursor.copy(copy) as sink:
        for row in rows:
            sink.write_row([store(row[name]) for name, store in zip(names, stored, strict=True)])


def _as_it_is(value: Any) -> Any:
    return value


def has_input(connection: Any) -> bool:
    """Return whether the server has sent psycopg's idle connection anything, such as that it closes it."""
    with selectors.DefaultSelector() as readable:
        readable.register(connection, selectors.EVENT_READ)
        return bool(readable.select(0))


@contextlib.contextmanager
def limited(connection: Connection, seconds: float) -> Iterator[None]:
    """Have the database give up the statements inside after so many seconds."""
    deadline = time.monotonic() + seconds
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET statement_timeout = {max(1, round(seconds * 1000))}")
        try:
            yield
        finally:
            try:
                connection.exec_driver_sql("RESET statement_timeout")
            except sa.exc.DBAPIError:
                # The limit holds for this statement too. With it, the connection would fail all who are given it later.
                if not connection.invalidated:
                    connection.detach()
        return
    sqlite: Any = connection.connection.driver_connection
    sqlite.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        sqlite.set_progress_handler(None, 0)
