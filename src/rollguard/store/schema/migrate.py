"""Migrate a database to this code's schema, also while others open it."""

from __future__ import annotations

import functools
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import NotARollguardStore, SchemaDamaged, SchemaTooNew, SchemaTooOld
from rollguard.store.database.engine import Database
from rollguard.store.database.url import quoted
from rollguard.store.schema import bring_over
from rollguard.store.schema.migrations.held_types import trigger_names
from rollguard.store.schema.migrations.statements import run

if TYPE_CHECKING:  # importing Alembic is slow, and a store that is up to date does not need it
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

VERSION_TABLE = "rollguard_schema_version"
_MIGRATIONS = Path(__file__).parent / "migrations"
_LAST_WITH_OLD_MIGRATIONS = "fef74ff"
# The triggers find the tables of their own schema, whatever the search path of the program that inserts.
PIN_TRIGGERS = """
DO $$
DECLARE
    made regprocedure;
BEGIN
    FOR made IN SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = quote_ident(current_schema())::regnamespace AND prorettype = 'trigger'::regtype
        AND proname LIKE 'rollguard%'
    LOOP
        EXECUTE 'ALTER FUNCTION ' || made || ' SET search_path FROM CURRENT';
    END LOOP;
END $$"""
_IN_THIS_PROCESS = threading.Lock()  # Alembic keeps the running migration in a module-wide variable


def head() -> str:
    """Return the newest revision that this code knows."""
    return max(_revisions())


def current(database: Database) -> str | None:
    """Return the revision of the database; None for an empty one."""
    with database.read() as connection:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        revision: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
        return revision


def migrate(database: Database) -> None:
    """Migrate the schema to this code's newest revision, in one transaction.

    Raises:
        SchemaTooNew: a newer Rollguard wrote the database.
        SchemaTooOld: a Rollguard from before the first release wrote the database.
        NotARollguardStore: tables of the same names exist that Rollguard did not create.
        StoreUnavailable: the database cannot be reached or written.
    """
    target = head()
    present = current(database)
    if present == target:
        return
    refuse_unknown(present, database)
    from alembic.operations import Operations

    found = scripts()
    with _IN_THIS_PROCESS, database.write() as connection:
        if database.dialect == "postgresql":  # SQLite's write transaction already excludes the others
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('rollguard:schema', 0))"))
            if database.schema is not None:
                connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quoted(database.schema)}")
        context = _upgrade(connection, found, target)
        present = context.get_current_revision()
        refuse_unknown(present, database)
        if present is None:
            _refuse_foreign_tables(connection, database)
        elif present == bring_over.FROM:
            bring_over.bring_over(connection)
            present = bring_over.TO
        if present != target:
            with Operations.context(context):
                context.run_migrations()
            if database.schema is not None:
                run(connection, [PIN_TRIGGERS])


def parts(dialect: str) -> set[str]:
    """Return the names of the tables, indexes, views, functions and triggers of this code's schema."""
    made = re.compile(r"^CREATE (?:OR REPLACE )?(?:UNIQUE )?(?:TABLE|INDEX|VIEW|FUNCTION|TRIGGER) (\w+)", re.MULTILINE)
    files = sorted((_MIGRATIONS / "versions").glob(f"*.{dialect}.sql"))
    named = {name for file in files for name in made.findall(file.read_text("utf-8"))}
    return named | trigger_names() if dialect == "sqlite" else named


def check_replaced(url: str, busy_timeout: float, *, thorough: bool) -> None:
    """Check, and migrate, the SQLite file that is now where a store has its own. An empty one gets no schema.

    Args:
        thorough: look through the whole file for damage.

    Raises:
        StoreError: it cannot be used.
    """
    database = Database(url, busy_timeout=busy_timeout, create=False)
    try:
        if thorough:
            with database.read() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if found != "ok":
                raise NotARollguardStore(f"{database} is damaged; restore a backup ({found})")
        if current(database) is None:
            raise SchemaDamaged(f"{database} was replaced by a file that is no store of Rollguard; restore a backup")
        migrate(database)
    finally:
        database.close()


def refuse_unknown(revision: str | None, database: Database) -> None:
    """Raise `SchemaTooNew` or `SchemaTooOld` unless this code can open a store of that revision."""
    if revision is None or revision in (bring_over.FROM, *_revisions()):
        return
    if revision < bring_over.FROM:
        raise SchemaTooOld(
            f"{database} has schema {revision}, from before the first release; this Rollguard opens {bring_over.FROM} "
            f"and later. Open it once with the last commit that migrates it, {_LAST_WITH_OLD_MIGRATIONS} of "
            "Rollguard's repository, then with this one; or give this one a new database"
        )
    raise SchemaTooNew(
        f"{database} has schema {revision}, which a newer Rollguard made; this one knows up to {head()}. "
        "Upgrade with: pip install --upgrade rollguard"
    )


@functools.cache
def _revisions() -> frozenset[str]:
    """Find the revisions this code knows; files are named after them."""
    return frozenset(file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


@functools.cache  # Alembic compiles every migration for each `ScriptDirectory`
def scripts() -> ScriptDirectory:
    """Return the migrations, read once in this process."""
    from alembic.script import ScriptDirectory

    found = ScriptDirectory(str(_MIGRATIONS), version_locations=[str(_MIGRATIONS / "versions")])
    found.get_current_head()  # reads them all now, before other threads use them
    return found


def _upgrade(connection: Connection, scripts: ScriptDirectory, target: str) -> MigrationContext:
    from alembic.runtime.migration import MigrationContext

    opts: dict[str, object] = {
        "version_table": VERSION_TABLE,
        "fn": lambda revision, _context: scripts._upgrade_revs(target, revision),
    }
    return MigrationContext.configure(connection, opts=opts)


def _refuse_foreign_tables(connection: Connection, database: Database) -> None:
    from rollguard.store.schema import metadata

    taken = sorted(set(sa.inspect(connection).get_table_names()) & set(metadata.tables))
    if taken:
        raise NotARollguardStore(
            f"{database} already has tables that Rollguard did not make ({', '.join(taken)}); "
            "give Rollguard a database or a file of its own"
        )
