"""The schema as plain SQL: for administrators who migrate databases themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psycopg
import pytest

import rollguard.store.schema
from rollguard import ExecutionStore
from rollguard.errors import InvalidInput
from rollguard.store.database.engine import Database
from rollguard.store.schema import migrate, plain_sql
from tests.contract.sql import ask

SHIPPED = Path(rollguard.store.schema.__file__).parent / "011_deployment_monitoring.sql"
OLDER = "0031"


def apply(url: str, script: str) -> None:
    """Run a script as an administrator does: with the database's own program, or what is below it."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as postgresql:
            postgresql.execute(script.encode())


def dump(url: str, schema: str = "public") -> list[str]:
    """Return all there is in a database: tables, columns, types, checks, indexes, views, triggers, functions, rows."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        found = [*connection.iterdump()]
        connection.close()
        return sorted(" ".join(line.split()).replace("( ", "(").replace(" )", ")").replace(" ;", ";") for line in found)
    queries = (
        "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = $",
        f"SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = '{schema}'",
        f"SELECT viewname, definition FROM pg_views WHERE schemaname = '{schema}'",
        "SELECT tgrelid::regclass, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid "
        "WHERE NOT tgisinternal AND relnamespace = $",
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = $",
        "SELECT relname, relkind, reloptions, pg_get_expr(relpartbound, oid), obj_description(oid) FROM pg_class "
        "WHERE relnamespace = $",
        "SELECT attrelid::regclass, attname, attnum, format_type(atttypid, atttypmod), attnotnull, attidentity, "
        "pg_get_expr(adbin, adrelid), col_description(attrelid, attnum) FROM pg_attribute "
        "JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
        "WHERE attnum > 0 AND relkind IN ('r', 'p', 'v') AND relnamespace = $",
        f'SELECT * FROM "{schema}".{migrate.VERSION_TABLE}',
        f'SELECT * FROM "{schema}".rollup_state',
    )
    namespace = f"'\"{schema}\"'::regnamespace"
    return sorted(str(tuple(row.values())) for query in queries for row in ask(url, query.replace("$", namespace)))


def _without_counts(lines: list[str]) -> list[str]:
    """Leave out what the counts of executions keep on SQLite, in rows."""
    return [line for line in lines if not line.startswith("INSERT INTO")]


def kind(dialect: str) -> Literal["sqlite", "postgresql"]:
    return "sqlite" if dialect == "sqlite" else "postgresql"


def test_the_script_is_the_sum_of_the_migrations(new_url: Callable[[], str], dialect: str) -> None:
    """Applied to an empty database, it makes all that the migrations make, and a later start accepts it."""
    by_script, by_start = new_url(), new_url()
    apply(by_script, plain_sql.plain_sql(kind(dialect)))
    ExecutionStore(by_start).close()
    made = dump(by_script)
    assert made == dump(by_start)
    with ExecutionStore(by_script) as store:
        assert dump(by_script) == made
        store.store_tool_execution(tool_name="t", success=True)


def test_the_script_of_an_update(new_url: Callable[[], str], dialect: str) -> None:
    """`--from` brings an older database to the same schema, and loses no row of it."""
    updated, whole = new_url(), new_url()
    scripts = migrate.scripts()
    before = [one.revision for one in scripts.iterate_revisions(OLDER, "base")]
    assert before[0] == OLDER
    database = Database(updated)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrate, "head", lambda: OLDER)
        migrate.migrate(database)
    database.close()
    apply(updated, "INSERT INTO tool_executions (tool_name, success) VALUES ('t', TRUE)")
    apply(updated, plain_sql.plain_sql(kind(dialect), since=OLDER))
    with ExecutionStore(updated) as store:
        assert store.executions.tool_names() == ["t"]
    apply(updated, "DELETE FROM tool_executions")
    apply(whole, plain_sql.plain_sql(kind(dialect)))
    assert _without_counts(dump(updated)) == _without_counts(dump(whole))


def test_the_shipped_file_is_what_is_printed() -> None:
    """`011_deployment_monitoring.sql` in the package is what `rollguard schema` prints."""
    assert SHIPPED.read_text("utf-8") == plain_sql.plain_sql("postgresql"), "write it again with: make schema"


def test_a_schema_of_its_own(postgres: object, request: pytest.FixtureRequest) -> None:
    """With `--schema` everything is made in that schema, with triggers that find its tables, as by a start with it."""
    by_script, by_start = (request.getfixturevalue("postgres").new_database(migrated=False) for _ in range(2))
    apply(by_script, plain_sql.plain_sql("postgresql", schema="a b"))
    ExecutionStore(by_start, schema="a b").close()
    assert dump(by_script, "a b") == dump(by_start, "a b")


def test_what_is_refused() -> None:
    """A revision that is not known, and a schema on SQLite, are refused with what is possible."""
    with pytest.raises(InvalidInput, match=r"--from: 0032 is no revision of the schema; the known ones are 0013, 0015"):
        plain_sql.plain_sql("sqlite", since="0032")
    with pytest.raises(InvalidInput, match="SQLite has no schemas"):
        plain_sql.plain_sql("sqlite", schema="a")
