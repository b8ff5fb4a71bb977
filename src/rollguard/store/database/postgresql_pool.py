"""The connections of a process to PostgreSQL: few, trusted for a second, and none left open when they are closed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from rollguard.errors import StoreError
from rollguard.store.database.driver import has_input

_CONNECTIONS, _FOR_A_MOMENT = 5, 3  # of a process to PostgreSQL, whose limit is 100 by default for all of them
_TRUSTED = 1.0  # seconds that a quiet connection to PostgreSQL is used again without asking whether it still answers


def postgresql_engine(url: URL, options: Mapping[str, Any], *, patience: float, closed: list[int]) -> Engine:
    """Return an engine for PostgreSQL.

    Args:
        url: the database.
        options: of psycopg for every connection.
        patience: seconds, at least 30, to wait for another thread's connection when all are in use.
        closed: its one number grows before and after all connections are closed. One that a thread opened or used
            meanwhile is closed when the thread gives it back.

    Raises:
        StoreError: the driver is not installed.
    """
    try:
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=dict(options),
            pool_size=_CONNECTIONS,
            max_overflow=_FOR_A_MOMENT,
            pool_timeout=max(30.0, patience),
        )
    except ModuleNotFoundError as error:
        raise StoreError("PostgreSQL needs its driver: pip install 'rollguard[postgres]'") from error

    @sa.event.listens_for(engine, "do_connect")
    def opening(_dialect: Any, record: Any, _arguments: Any, _options: Any) -> None:
        record.info["closed"] = closed[0]

    @sa.event.listens_for(engine, "checkin")
    def returned(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()
        if record.info.get("closed") != closed[0]:
            record.invalidate()

    @sa.event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _proxy: Any) -> None:
        # `pool_pre_ping` would ask before every use: as many round trips again.
        used = record.info.get("used")
        if used is not None and (time.monotonic() - used > _TRUSTED or has_input(connection)):
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise sa.exc.InvalidatePoolError("the server closed the connection") from error

    return engine
