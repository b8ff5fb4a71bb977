"""The common parts of all tables: the metadata, the names of constraints, and the database's clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, MetaData, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from rollguard.store.database.types import UTCDateTime


class utc_now(GenericFunction[datetime]):  # noqa: N801 - named as it reads in SQL
    """The database's own clock, for rows that other programs insert."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(utc_now, "postgresql")
def _now_postgresql(_element: utc_now, _compiler: SQLCompiler, **_: object) -> str:
    return "now()"


@compiles(utc_now, "sqlite")
def _now_sqlite(_element: utc_now, _compiler: SQLCompiler, **_: object) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

POSTGRESQL = "postgresql"  # key in `info` for the options of PostgreSQL; SQLAlchemy's own would load its dialect
ONLY_ON = "only_on"  # key in `info` for the dialect of objects that only one database has


def with_postgresql() -> MetaData:
    """Return the schema with the options of PostgreSQL, to compare it with that of a database."""
    for table in metadata.tables.values():
        items: list[Table | Index] = [table, *table.indexes]
        for item in items:
            for name, value in item.info.get(POSTGRESQL, {}).items():
                item.dialect_options["postgresql"][name] = value
    return metadata
