"""The driver's own connection, for what it does faster than through SQLAlchemy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


@contextlib.contextmanager
def driver(connection: Connection, statement: str) -> Iterator[Any]:
    """The connection of sqlite3 or psycopg that belongs to this one of SQLAlchemy; its errors are SQLAlchemy's.

    Args:
        statement: what is told of in an error.
    """
    dbapi: Any = connection.dialect.loaded_dbapi
    try:
        yield connection.connection.driver_connection
    except dbapi.Error as error:
        raise sa.exc.DBAPIError.instance(statement, None, error, dbapi.Error, dialect=connection.dialect) from error
