"""Opening a store: an empty one, an older one, a newer one, somebody else's, and many processes at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput, NotARollguardStore, SchemaTooNew, SchemaTooOld, StoreUnavailable
from rollguard.store.database.engine import Database
from rollguard.store.schema import ONLY_ON, metadata, migrate
from rollguard.store.schema.base import with_postgresql
from tests.processes import at_once, python
from tests.store.old_store import make_old_store

VIEWS = {
    *("active_monitoring", "tool_health_history", "deployment_stability"),
    *("version_history_with_metrics", "version_stability"),
    *("testing_summary", "tool_testing_history", "improvement_history"),
}


def _is_on(obj: sa.schema.SchemaItem, dialect: str) -> bool:
    """Whether a part of the schema belongs to this database."""
    return obj.info.get(ONLY_ON, dialect) == dialect


def test_an_empty_url_becomes_a_store(new_url: Callable[[], str]) -> None:
    """Opening an empty database makes every table and view."""
    with ExecutionStore(new_url()) as store, store.database.read() as connection:
        inspector = sa.inspect(connection)
        tables = {name for name, table in metadata.tables.items() if _is_on(table, store.database.dialect)}
        assert tables <= set(inspector.get_table_names())
        assert set(inspector.get_view_names()) == VIEWS


def included(dialect: str) -> Callable[[sa.schema.SchemaItem, str, str, bool, object], bool]:
    """What Alembic is to compare: what this database has, and no partitions."""

    def include(obj: sa.schema.SchemaItem, name: str, kind: str, reflected: bool, other: object) -> bool:
        partition = kind == "table" and name.startswith("tool_executions_")
        return name != migrate.VERSION_TABLE and not partition and _is_on(obj, dialect)

    return include


def test_the_schema_is_the_sum_of_its_migrations(store: ExecutionStore) -> None:
    """Tables, columns, indexes and constraints in the code are exactly those that the migrations make."""
    with store.database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": False,
                "include_object": included(store.database.dialect),
            },
        )
        assert compare_metadata(context, with_postgresql()) == []


def test_the_newest_file_is_the_newest_migration() -> None:
    """What a store's schema should be is told by the names of files, and Alembic finds the same."""
    assert migrate.head() == migrate.scripts().get_current_head()


@pytest.mark.parametrize("revision", [f"{number:04}" for number in range(1, 12)])
def test_a_store_from_before_the_first_release_is_refused(revision: str) -> None:
    """A store of an older schema than 0012 is left alone, and the error says how to bring it over."""
    with ExecutionStore("sqlite:///:memory:") as store:
        with store.database.write() as connection:
            connection.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{revision}'"))
        with pytest.raises(SchemaTooOld, match=rf"schema {revision}, .* Open it once with .* fef74ff"):
            migrate.migrate(store.database)
        assert migrate.current(store.database) == revision


def test_a_newer_store_is_refused(url: str) -> None:
    """A store that a newer Rollguard has migrated is left alone, with the advice to upgrade."""
    with ExecutionStore(url) as store, store.database.write() as connection:
        connection.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match=r"9999.*pip install --upgrade rollguard"):
        ExecutionStore(url)


def test_somebody_elses_tables_are_left_alone(new_url: Callable[[], str]) -> None:
    """A database with tables of the same names that no Rollguard made is refused and not touched."""
    url = new_url()
    database = Database(url)
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE tool_executions (mine INTEGER)"))
    with pytest.raises(NotARollguardStore, match="tool_executions"):
        ExecutionStore(url)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["tool_executions"]
    database.close()


OPEN = """
import sys
from rollguard import ExecutionStore
print("ready", flush=True)
sys.stdin.readline()
with ExecutionStore(sys.argv[1]) as store:
    store.store_tool_execution(tool_name="t", success=True)
print("opened")
"""


@pytest.mark.parametrize("old", [False, True])
def test_processes_that_open_one_store_at_once_are_safe(new_url: Callable[[], str], old: bool) -> None:
    """Six processes that open the same empty or old database at the same moment all get the one schema."""
    url = new_url()
    if old:
        make_old_store(url)
    assert at_once([python(OPEN, url) for _ in range(6)]) == ["opened\n"] * 6
    with ExecutionStore(url) as store:
        assert store.executions.tool_names() == ["t"]


@pytest.mark.parametrize("url", ["", "rollguard.db", "mysql://host/db", "sqlite", "postgresql+nonsense://x"])
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    """What is no database URL, or names another kind of database, is refused with an example of a good one."""
    with pytest.raises(InvalidInput, match=r"sqlite:///rollguard\.db"):
        ExecutionStore(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file with other content is refused and stays as it is."""
    file = tmp_path / "notes.db"
    file.write_text("these are my notes, " * 100)
    with pytest.raises(NotARollguardStore, match=r"notes\.db"):
        ExecutionStore(f"sqlite:///{file}")
    assert file.read_text().startswith("these are my notes")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A SQLite file in a folder that does not exist is refused with the path."""
    with pytest.raises(StoreUnavailable, match="folder exists"):
        ExecutionStore(f"sqlite:///{tmp_path}/nowhere/rollguard.db")


def test_a_store_in_memory_works() -> None:
    """A SQLite database in memory is a whole store for as long as it is open, from every thread."""
    with ExecutionStore("sqlite:///:memory:") as store:
        store.store_tool_execution(tool_name="t", success=True)
        assert store.executions.tool_names() == ["t"]


def test_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    """On SQLite a store is read while another process writes to it."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db", busy_timeout=0.1) as store:
        writer = sqlite3.connect(tmp_path / "rollguard.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert store.executions.tool_names() == []
        writer.close()
