"""Opening a store: an empty one, an older one, a newer one, somebody else's, and many processes at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput, NotARollguardStore, SchemaTooNew, StoreConflict, StoreUnavailable
from rollguard.store.database.engine import Database
from rollguard.store.rollups.selection import Selection
from rollguard.store.schema import ONLY_ON, metadata, migrate
from tests.conftest import NOW
from tests.contract.sql import ask

VIEWS = {
    *("active_monitoring", "tool_health_history", "deployment_stability"),
    *("version_history_with_metrics", "version_stability"),
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


def test_the_schema_is_the_sum_of_its_migrations(store: ExecutionStore) -> None:
    """Tables, columns, indexes and constraints in the code are exactly those that the migrations make."""

    def include(obj: sa.schema.SchemaItem, name: str, kind: str, reflected: bool, other: object) -> bool:
        partition = kind == "table" and name.startswith("tool_executions_")
        return name != migrate.VERSION_TABLE and not partition and _is_on(obj, store.database.dialect)

    with store.database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": False,
                "include_object": include,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_the_newest_file_is_the_newest_migration() -> None:
    """What a store's schema should be is told by the names of files, and Alembic finds the same."""
    assert migrate.head() == migrate._scripts().get_current_head()


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_an_older_store_is_migrated_with_its_rows(new_url: Callable[[], str], revision: str) -> None:
    """Opening a store that an older version made brings it up to date and loses nothing."""
    url = new_url()
    old = Database(url)
    migrate.migrate(old, revision)
    with old.write() as connection:
        connection.execute(
            sa.text("INSERT INTO tool_executions (tool_name, success, executed_at) VALUES ('t', :yes, :at)"),
            {"yes": True, "at": "2026-03-01 12:00:00"},
        )
    assert migrate.current(old) == revision
    old.close()
    with ExecutionStore(url) as store:
        assert migrate.current(store.database) == migrate.head()
        assert store.executions.tool_names() == ["t"]


def test_rollbacks_of_an_older_store_are_kept(new_url: Callable[[], str]) -> None:
    """Rollbacks, their constraints and the views over them outlive the migration that changes their table."""
    url = new_url()
    old = Database(url)
    migrate.migrate(old, "0005")
    with old.write() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO deployment_monitoring (tool_name, deployment_time, status, completed_at) "
                "VALUES ('t', :at, 'rolled_back', :at)"
            ),
            {"at": NOW if old.dialect == "postgresql" else "2026-03-01 12:00:00.000000"},
        )
        connection.execute(
            sa.text(
                "INSERT INTO deployment_rollbacks (tool_name, session_id, reason, rollback_successful, from_version, "
                "to_version) VALUES ('t', 1, 'kept', :yes, 2, 1)"
            ),
            {"yes": True},
        )
    old.close()
    with ExecutionStore(url) as store:
        (kept,) = store.rollbacks.recent()
        assert (kept.reason, kept.state, kept.actuator, kept.quarantines) == ("kept", "finished", "folder", False)
        (session,) = store.sessions.recent()
        assert (session.rules.mode, session.rules.max_rollbacks_per_day) == ("act", 3)
        assert store.reports.deployment_stability()[0]["total_rollbacks"] == 1
        for refused in ("UPDATE deployment_rollbacks SET state = 'odd'", "UPDATE deployment_monitoring SET mode = 'x'"):
            with pytest.raises(StoreConflict), store.database.write() as connection:
                connection.execute(sa.text(refused))


def test_rollups_of_an_older_store_are_kept(new_url: Callable[[], str]) -> None:
    """What was counted bucket by bucket, folded or not, is counted the same in histograms, and so does the view."""
    url = new_url()
    old = Database(url)
    migrate.migrate(old, "0009")
    columns = "tool_name, version_number, bucket, error_type, executions, successes, duration_sum_ms"
    counted = [("", -1, 1, 1, 0.0), ("", 200, 3, 2, 6.5), ("", 210, 4, 4, 9.0), ("KeyError", 210, 2, 0, 4.0)]
    at = NOW if old.dialect == "postgresql" else "2026-03-01 12:00:00.000000"
    with old.write() as connection:
        for error, bucket, executions, successes, duration in counted:
            values = f"'t', 1, {bucket}, '{error}', {executions}, {successes}, {duration}"
            widths = [("tool_execution_rollups", "start_at, width", f":at, {width}") for width in (60, 3600)]
            notes = ("tool_execution_deltas", "minute", ":at")
            for table, more, given in (*widths, *([notes] * 2 if old.dialect == "postgresql" else [])):
                insert = f"INSERT INTO {table} ({columns}, {more}) VALUES ({values}, {given})"
                connection.execute(sa.text(insert), {"at": at})
        connection.execute(
            sa.text(
                "INSERT INTO tool_versions (tool_name, version_number, code, sha256, kind, created_by) "
                "VALUES ('t', 1, :code, 'x', 'initial', 'me')"
            ),
            {"code": b""},
        )
    old.close()
    times = 3 if old.dialect == "postgresql" else 1
    with ExecutionStore(url) as store:
        for length in (timedelta(minutes=1), timedelta(hours=1)):
            (window,) = store.executions.count([[Selection("t", NOW, NOW + length)]])
            assert (window.total, window.successes, window.timed) == (10 * times, 7 * times, 9 * times)
            assert window.duration_sum_ms == 19.5 * times
            assert window.histogram == ((-1, times), (200, 3 * times), (210, 6 * times))
        (shown,) = ask(url, "SELECT executions, successes, avg_duration_ms FROM version_history_with_metrics")
        assert (shown["executions"], shown["successes"]) == (10 * times, 7 * times)
        assert shown["avg_duration_ms"] == pytest.approx(19.5 / 9)


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


def _open(url: str, ready: object, results: object) -> None:
    ready.wait()
    try:
        with ExecutionStore(url) as store:
            store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
        results.put("opened")
    except Exception as error:  # noqa: BLE001 - reported to the test
        results.put(repr(error))


def test_processes_that_open_one_store_at_once_are_safe(new_url: Callable[[], str]) -> None:
    """Six processes that open the same empty database at the same moment all get the one schema."""
    url = new_url()
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(6), context.Queue()
    processes = [context.Process(target=_open, args=(url, ready, results)) for _ in range(6)]
    for process in processes:
        process.start()
    assert [results.get(timeout=300) for _ in processes] == ["opened"] * 6
    for process in processes:
        process.join()
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
