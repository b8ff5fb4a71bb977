"""The driver's own connection, for statements that run faster without SQLAlchemy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


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
