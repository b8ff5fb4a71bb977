"""Check a database without changing it: whether it exists, is a store and can be written, and its time."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import metadata, migrate, rollup_state, utc_now

_NAMED = {
    "sqlite": sa.text("SELECT name FROM sqlite_master"),
    "postgresql": sa.text("""
SELECT relname FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace
UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
UNION SELECT proname FROM pg_proc WHERE pronamespace = quote_ident(current_schema())::regnamespace"""),
}


class Checkup:
    """Checks of a database that is not opened as a store, so that no check creates or migrates anything.

    Args:
        url, schema: as for `ExecutionStore`.

    Raises:
        InvalidInput: the URL cannot be understood.
        InvalidSetting: the schema is none.
    """

    def __init__(self, url: str, *, busy_timeout: float = 5.0, schema: str | None = None) -> None:
        self.database = Database(url, busy_timeout=busy_timeout, schema=schema)

    @property
    def missing(self) -> bool:
        """Return whether the file does not exist yet (SQLite)."""
        return self.database.path is not None and not self.database.path.exists()

    def schema(self) -> tuple[str | None, str]:
        """Return the revision of the database, None for an empty one, and the revision that this code needs.

        Raises:
            SchemaTooNew, SchemaTooOld: this code cannot open it.
            StoreError: it cannot be reached, or is no store.
        """
        present = migrate.current(self.database)
        migrate.refuse_unknown(present, self.database)
        return present, migrate.head()

    def missing_parts(self) -> list[str]:
        """Return what the database lacks of the schema that its revision promises: tables, columns, views, triggers."""
        with self.database.read() as connection:
            inspector = sa.inspect(connection)
            there = set(connection.scalars(_NAMED[self.database.dialect]))
            missing = [name for name in sorted(migrate.parts(self.database.dialect)) if name not in there]
            for name, table in metadata.tables.items():
                if name in there:
                    columns = {column["name"] for column in inspector.get_columns(name)}
                    missing += [f"{name}.{column.name}" for column in table.columns if column.name not in columns]
        return missing

    def clock(self) -> datetime:
        """Return the database's own time."""
        with self.database.read() as connection:
            return connection.execute(sa.select(sa.type_coerce(utc_now(), UTCDateTime))).scalar_one()

    def try_writing(self) -> None:
        """Raise a `StoreError` if the database cannot be written. It writes nothing."""
        with self.database.write() as connection:
            connection.execute(sa.update(rollup_state).where(rollup_state.c.only_row == 0).values(rolled_to=0))

    def close(self) -> None:
        """Close the connections."""
        self.database.close()
