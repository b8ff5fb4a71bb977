"""Write the schema as plain SQL, for administrators who migrate databases themselves. It needs no database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from rollguard.errors import InvalidInput
from rollguard.store.database.url import quoted
from rollguard.store.schema.migrate import PIN_TRIGGERS, VERSION_TABLE, head, scripts
from rollguard.store.schema.migrations.statements import statements

Dialect = Literal["sqlite", "postgresql"]

_MAKE_VERSION_TABLE = f"""\
CREATE TABLE {VERSION_TABLE} (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)
)"""
_READS = re.compile(r"SELECT\b|PRAGMA (?:\w+\.)?table_")


def plain_sql(dialect: Dialect, *, since: str | None = None, schema: str | None = None) -> str:
    """Return a script that makes the schema, in one transaction; a store that is opened afterwards accepts it.

    Args:
        dialect: the kind of database.
        since: the revision that the database has; None for an empty one.
        schema: the PostgreSQL schema that the script makes and fills; by default the session's.

    Raises:
        InvalidInput: no such revision is known, or SQLite is to have a schema.
    """
    if schema is not None and dialect == "sqlite":
        raise InvalidInput("--schema: SQLite has no schemas; leave it out")
    migrations = _migrations_after(since)
    parts = [f"-- Rollguard's schema {head()} for {dialect}" + (f", from {since}" if since else "")]
    parts += ["-- Printed by `rollguard schema`: do not edit it. A later start of Rollguard accepts what it makes."]
    whole = [] if since else [_MAKE_VERSION_TABLE]
    if schema is not None:
        whole[:0] = [f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}", f"SET LOCAL search_path TO {quoted(schema)}"]
    for migration, made in _statements(dialect, migrations):
        if made:
            first, *others = (statement.strip().removesuffix(";") for statement in made)
            whole += [f"-- {migration.revision}: {migration.doc}\n\n{first}", *others]
    if schema is not None:
        whole.append(PIN_TRIGGERS.strip())
    whole.append(
        f"UPDATE {VERSION_TABLE} SET version_num = '{head()}'"
        if since
        else f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{head()}')"
    )
    return "\n".join(parts) + "\n\n" + ";\n\n".join(["BEGIN", *whole, "COMMIT"]) + ";\n"


def _migrations_after(since: str | None) -> list[Any]:
    """Return the migrations after a revision, the first one first."""
    newest_first = list(scripts().walk_revisions())
    if since is not None and since not in {one.revision for one in newest_first}:
        known = ", ".join(one.revision for one in reversed(newest_first))
        raise InvalidInput(f"--from: {since} is no revision of the schema; the known ones are {known}")
    return list(takewhile(lambda one: one.revision != since, newest_first))[::-1]


def _statements(dialect: Dialect, migrations: list[Any]) -> Iterator[tuple[Any, list[str]]]:
    """Yield each migration with its statements."""
    if dialect == "postgresql":
        for migration in migrations:
            yield migration, statements(Path(migration.path).stem, dialect, optional=True)
    else:
        yield from _run_in_memory(migrations)


def _run_in_memory(migrations: list[Any]) -> Iterator[tuple[Any, list[str]]]:
    """Run the migrations in a SQLite database in memory: some of their statements depend on the columns there are."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    engine = sa.create_engine("sqlite://")
    run: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if not _READS.match(statement):
            run.append(statement)

    wanted = {one.revision for one in migrations}
    try:
        with engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
            for migration in _migrations_after(None):
                run.clear()
                migration.module.upgrade()
                if migration.revision in wanted:
                    yield migration, list(run)
    finally:
        engine.dispose()
