"""The contract's CREATE TABLE blocks against the tables as they are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from rollguard import ExecutionStore
from tests.contract.sql import Row, ask, block, moment
from tests.postgres import PostgresServer

TABLES = ("deployment_monitoring", "deployment_health_checks", "deployment_rollbacks")
NEEDED = {  # the columns that have no default and may not be NULL, as the contract has them
    "deployment_monitoring": {"tool_name": "t", "deployment_time": "2026-03-02 10:00:00"},
    "deployment_health_checks": {"tool_name": "t"},
    "deployment_rollbacks": {"tool_name": "t", "reason": "r", "rollback_successful": False},
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "deployment_monitoring": {
        "session_id": 1,
        "monitoring_window_hours": 24,
        "baseline_window_days": 7,
        "regression_threshold": 0.15,
        "status": "active",
        "completed_at": None,
        "notes": None,
    },
    "deployment_health_checks": {
        "check_id": 1,
        "session_id": None,
        "baseline_success_rate": None,
        "current_total_executions": None,
        "success_rate_drop": None,
        "regression_detected": False,
        "regression_severity": None,
        "needs_rollback": False,
    },
    "deployment_rollbacks": {
        "rollback_id": 1,
        "session_id": None,
        "success_rate_drop": None,
        "regression_severity": None,
    },
}
NOW_COLUMN = {
    "deployment_monitoring": "monitoring_started_at",
    "deployment_health_checks": "checked_at",
    "deployment_rollbacks": "rollback_time",
}
REFERENCES = """
    SELECT a.attname AS column, c.confrelid::regclass::text AS other, f.attname AS other_column
    FROM pg_constraint c
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
    WHERE c.contype = 'f' AND c.conrelid = %s::regclass
"""
PRIMARY_KEY = """
    SELECT a.attname AS column FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indisprimary AND i.indrelid = %s::regclass
"""


@pytest.fixture
def both(postgres: PostgresServer) -> str:
    """A PostgreSQL store, with the contract's own tables in a schema beside it, made by its blocks verbatim."""
    url = postgres.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA contract")
        connection.execute("SET search_path TO contract")
        for table in TABLES:
            connection.execute(block(f"create_{table}.sql").encode())
    return url


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_the_contract_is_there_as_it_says(both: str, table: str) -> None:
    """Each column of the contract's table has its type, nullability and default; only TIMESTAMP keeps its zone too."""
    theirs, ours = _columns(both, "contract", table), _columns(both, "public", table)
    assert len(theirs) >= 8
    for name, wanted in theirs.items():
        kind = str(wanted["data_type"]).replace("timestamp without", "timestamp with")
        assert ours[name] == {**wanted, "data_type": kind}, name


@pytest.mark.parametrize("table", TABLES)
def test_a_column_of_ours_that_the_contract_does_not_name_may_be_left_out(both: str, table: str) -> None:
    """A program that inserts the contract's columns alone need not know of the others."""
    theirs, ours = _columns(both, "contract", table), _columns(both, "public", table)
    for name in set(ours) - set(theirs):
        assert ours[name]["is_nullable"] == "YES" or ours[name]["column_default"] is not None, name


@pytest.mark.parametrize("table", TABLES)
def test_keys_are_the_contracts(both: str, table: str) -> None:
    """Primary and foreign keys are on the contract's columns and point where it says."""
    with psycopg.connect(both, row_factory=dict_row) as connection:
        for query in (PRIMARY_KEY, REFERENCES):
            theirs = connection.execute(query.encode(), [f"contract.{table}"]).fetchall()
            ours = connection.execute(query.encode(), [f"public.{table}"]).fetchall()
            for row in theirs:
                if "other" in row:
                    row["other"] = row["other"].removeprefix("contract.")
            assert ours == theirs
            assert len(ours) == (0 if query is REFERENCES and table == "deployment_monitoring" else 1)


def test_the_contracts_tables_can_be_made_where_nothing_is(postgres: PostgresServer) -> None:
    """The three blocks run verbatim, in their order, in an empty schema: what is compared with is what they make."""
    url = postgres.new_database(migrated=False)
    with psycopg.connect(url) as connection:
        for table in TABLES:
            connection.execute(block(f"create_{table}.sql").encode())
    made = ask(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert {row["table_name"] for row in made} == set(TABLES)


@pytest.mark.parametrize("name", [*TABLES, "active_monitoring", "tool_health_history", "deployment_stability"])
def test_tables_and_views_are_there(store: ExecutionStore, url: str, name: str) -> None:
    """Opening a store makes every table and view of the contract, on both databases."""
    assert ask(url, f"SELECT * FROM {name}") == []


@pytest.mark.parametrize("table", TABLES)
def test_defaults_of_a_row_that_another_program_inserts(store: ExecutionStore, url: str, table: str) -> None:
    """A row inserted with the contract's required columns alone gets the contract's defaults, on both databases."""
    before = datetime.now(UTC)
    _insert(url, table, NEEDED[table])
    (row,) = ask(url, f"SELECT * FROM {table}")
    assert {name: row[name] for name in DEFAULTS[table]} == DEFAULTS[table]
    written = moment(row[NOW_COLUMN[table]])
    assert before.replace(microsecond=0) <= written <= datetime.now(UTC)  # SQLite's default is a whole second


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in TABLES for column in NEEDED[table]])
def test_a_required_column_is_required(store: ExecutionStore, url: str, table: str, column: str) -> None:
    """What the contract declares NOT NULL is refused when it is missing, on both databases."""
    values = {name: value for name, value in NEEDED[table].items() if name != column}
    with pytest.raises(Exception, match=re.compile("not.null", re.I)):
        _insert(url, table, values)


@pytest.mark.parametrize("status", ["active", "completed", "rolled_back"])
def test_status_values_of_the_contract(store: ExecutionStore, url: str, status: str) -> None:
    """The contract's three states are what a session's status may be; a word that is none is refused."""
    closed = {} if status == "active" else {"completed_at": "2026-03-03 10:00:00"}
    _insert(url, "deployment_monitoring", {**NEEDED["deployment_monitoring"], "status": status, **closed})
    assert ask(url, "SELECT status FROM deployment_monitoring") == [{"status": status}]
    with pytest.raises(Exception, match=re.compile("ck_deployment_monitoring_status|constraint", re.I)):
        _insert(url, "deployment_monitoring", {**NEEDED["deployment_monitoring"], "status": "paused", **closed})


def _insert(url: str, table: str, values: Row) -> None:
    names = ", ".join(values)
    literals = ", ".join("FALSE" if value is False else f"'{value}'" for value in values.values())
    rows = f"({names}) VALUES ({literals})" if values else "DEFAULT VALUES"
    ask(url, f"INSERT INTO {table} {rows} RETURNING tool_name")


def _columns(url: str, schema: str, table: str) -> dict[str, Row]:
    rows = ask(
        url,
        "SELECT column_name, data_type, is_nullable, column_default, character_maximum_length "
        f"FROM information_schema.columns WHERE table_schema = '{schema}' AND table_name = '{table}'",
    )
    for row in rows:
        row["column_default"] = row["column_default"] and row["column_default"].replace("contract.", "")
    return {row.pop("column_name"): row for row in rows}
