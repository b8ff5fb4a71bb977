"""What can be asked of a database without changing it: is it there, is it ours, what time has it, may we write."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import migrate, rollup_state, utc_now


class Checkup:
    """Questions to a database that nobody has opened as a store yet, so that nothing is made or migrated by asking.

    Args:
        url: as for `ExecutionStore`.

    Raises:
        InvalidInput: the URL cannot be understood.
    """

    def __init__(self, url: str, *, busy_timeout: float = 5.0) -> None:
        self.database = Database(url, busy_timeout=busy_timeout)

    @property
    def missing(self) -> bool:
        """Whether there is no file yet (SQLite)."""
        return self.database.path is not None and not self.database.path.exists()

    def schema(self) -> tuple[str | None, str]:
        """The revision that the database is at, None for an empty one, and the one that this code knows.

        Raises:
            SchemaTooNew, SchemaTooOld: this code cannot open it.
            StoreError: it cannot be reached, or is no store.
        """
        present = migrate.current(self.database)
        migrate.refuse_unknown(present, self.database)
        return present, migrate.head()

    def clock(self) -> datetime:
        """The database's own time."""
        with self.database.read() as connection:
            return connection.execute(sa.select(sa.type_coerce(utc_now(), UTCDateTime))).scalar_one()

    def try_writing(self) -> None:
        """Raise a `StoreError` where nothing can be written. Nothing is."""
        with self.database.write() as connection:
            connection.execute(sa.update(rollup_state).where(rollup_state.c.only_row == 0).values(rolled_to=0))

    def close(self) -> None:
        """Close the connections."""
        self.database.close()
