"""Stores in schemas of one PostgreSQL database, by a setting or by the URL's options, stay apart."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from rollguard import DeploymentMonitor, ExecutionStore, Rollguard, ToolRegistry
from rollguard.errors import InvalidSetting
from rollguard.record.instrument import _spool_of
from rollguard.store import Checkup
from tests.conftest import NOW, Guard
from tests.postgres import PostgresServer

ODD = 'Team "B"\\s tools'


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.new_database(migrated=False)


def tables_of(url: str, schema: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        return {name for (name,) in rows}


def names(store: ExecutionStore) -> list[str]:
    return store.executions.tool_names()


def test_two_schemas_of_one_database(postgres_url: str) -> None:
    """Each store has its own tables, created in its schema, whatever the schema's name; none is in `public`."""
    with ExecutionStore(postgres_url, schema="a") as a, ExecutionStore(postgres_url, schema=ODD) as odd:
        a.store_tool_execution(tool_name="in_a", success=True)
        odd.store_tool_execution(tool_name="in_odd", success=True)
        a.store_tool_executions({"tool_name": "in_a", "success": True, "executed_at": NOW} for _ in range(20))
        assert (names(a), names(odd)) == (["in_a"], ["in_odd"])
        assert str(odd.database).endswith(f"(schema {ODD})")
        with closing(Checkup(postgres_url, schema=ODD)) as checkup:
            present, needed = checkup.schema()
            assert present == needed
        assert _spool_of(a) != _spool_of(odd)
    assert "tool_executions" in tables_of(postgres_url, "a") & tables_of(postgres_url, ODD)
    assert tables_of(postgres_url, "public") == set()
    with ExecutionStore(postgres_url) as public:
        assert names(public) == []


def test_options_of_the_url(postgres_url: str) -> None:
    """A search path in the URL's `options` holds, with other options beside it; times stay in UTC."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA app")
    options = quote("-csearch_path=app -c application_name=agents -c timezone=Asia/Tokyo")
    with ExecutionStore(f"{postgres_url}&options={options}") as store:
        store.store_tool_execution(tool_name="t", success=True)
        with store.database.read() as connection:
            said = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("application_name", "timezone")]
        assert said == ["agents", "UTC"]
        with ExecutionStore(postgres_url, schema="app") as same:
            assert names(same) == ["t"]
    assert tables_of(postgres_url, "public") == set()


def test_other_programs_insert_with_their_own_search_path(postgres_url: str) -> None:
    """The triggers of a schema count what a program with another search path inserts."""
    with ExecutionStore(postgres_url, schema="a") as store:
        with psycopg.connect(postgres_url) as other:
            other.execute("INSERT INTO a.tool_executions (tool_name, success) VALUES ('t', TRUE)")
        assert names(store) == ["t"]
        with store.database.read() as connection:
            counted = connection.exec_driver_sql("SELECT count(*) FROM tool_execution_deltas").scalar()
        assert counted == 1


def test_a_watcher_listens_in_its_schema(postgres_url: str, tmp_path: Path) -> None:
    """Arrivals, sessions and rollbacks of one schema concern that schema alone."""
    with ExecutionStore(postgres_url, schema="a") as a, ExecutionStore(postgres_url, schema="b") as b:
        guards = [_guard(store, tmp_path / name) for store, name in ((a, "a"), (b, "b"))]
        arrivals = a.arrivals()
        arrivals.wait(0)
        for guard in guards:
            guard.deploy(1)
            guard.watch()
        a.store_tool_execution(tool_name="my_tool", success=True)
        assert arrivals.wait(10) == {"my_tool"}
        arrivals.close()
        assert [len(store.sessions.active()) for store in (a, b)] == [1, 1]
        guards[0].monitor.cancel_monitoring(1)
        assert [len(store.sessions.active()) for store in (a, b)] == [0, 1]


def _guard(store: ExecutionStore, folder: Path) -> Guard:
    registry = ToolRegistry(folder, store=store, follow=False)
    return Guard(store, registry, DeploymentMonitor(execution_store=store, tool_registry=registry))


def test_the_schema_of_settings(postgres_url: str, tmp_path: Path) -> None:
    """`schema` in `rollguard.toml`, or in the environment, holds for the whole system."""
    file = tmp_path / "rollguard.toml"
    file.write_text(f'database = "{postgres_url}"\nschema = "a"\n')
    with Rollguard.from_settings(file, {}) as guard:
        guard.store.store_tool_execution(tool_name="t", success=True)
    with Rollguard.from_settings(file, {"ROLLGUARD_SCHEMA": "b"}) as guard:
        assert names(guard.store) == []
    assert "tool_executions" in tables_of(postgres_url, "a") & tables_of(postgres_url, "b")


@pytest.mark.parametrize("schema", ["", "x" * 64, "a\0b", 5])
def test_what_is_no_schema(schema: Any) -> None:
    """A schema without a name, or with one that PostgreSQL would cut off, is refused."""
    with pytest.raises(InvalidSetting, match=r"schema: .* is not the name of a schema"):
        ExecutionStore("postgresql://localhost/none", schema=schema)


def test_sqlite_has_no_schemas() -> None:
    """A schema for SQLite is refused, with what to do instead."""
    with pytest.raises(InvalidSetting, match="schema: SQLite has no schemas; leave it out"):
        ExecutionStore("sqlite://", schema="a")
