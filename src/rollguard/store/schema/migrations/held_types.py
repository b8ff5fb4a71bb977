"""Triggers that hold the declared types of SQLite's columns, which SQLite itself does not, as PostgreSQL holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy.engine import Connection

from rollguard.store.schema.migrations.statements import run

# The tables whose columns are held since 0015, or since they exist. `tool_executions` has a cheaper trigger of its own.
TABLES = (
    *("deployment_monitoring", "deployment_health_checks", "deployment_rollbacks", "notifications"),
    *("tool_versions", "tool_deployments", "quarantined_code", "tool_actuations"),
    *("superseded_executions", "tool_execution_rollups", "tool_execution_deltas", "tool_version_starts"),
    *("rollup_state", "watchers", "calls_in_flight", "failure_definitions", "investigation_reports"),
    *("shadow_test_results", "replay_test_results", "releases", "release_tools", "rollouts"),
    *("improvement_attempts", "improvement_events", "loop_statistics"),
    "otlp_spans",
)

# A time as Rollguard writes it. Another form that SQLite understands is brought into this one.
_TIME = "-".join(["[0-9]" * 4, "[0-9][0-9]", "[0-9][0-9]"]) + " " + ":".join(["[0-9][0-9]"] * 3) + "." + "[0-9]" * 6
_NORMAL = "strftime('%Y-%m-%d %H:%M:%f000', NEW.{0})"

# A declared type: the condition of a value that has it, and what an error calls that.
_HELD = {
    "VARCHAR": ("typeof({0}) = 'text' AND length({0}) <= {1}", "text of at most {1} characters"),
    "TEXT": ("typeof({0}) = 'text'", "text"),
    "INTEGER": ("typeof({0}) = 'integer' AND {0} BETWEEN -2147483648 AND 2147483647", "a whole number of 32 bits"),
    "BIGINT": ("typeof({0}) = 'integer'", "a whole number"),
    "BOOLEAN": ("{0} IN (0, 1)", "TRUE or FALSE"),
    "FLOAT": ("typeof({0}) IN ('real', 'integer')", "a number"),
    "DATETIME": (
        "typeof({0}) = 'text' AND strftime('%s', {0}) IS NOT NULL",
        "a UTC time such as 2026-01-31 12:00:00",
    ),
    "BLOB": ("typeof({0}) = 'blob'", "bytes"),
}
_HISTOGRAM = ("typeof({0}) = 'text' AND json_valid({0})", "JSON")


def trigger_names() -> set[str]:
    """Return the names of the triggers of these tables."""
    return {f"{table}_{event}_typed" for table in TABLES for event in ("insert", "update")}


def hold_types(connection: Connection, table: str) -> None:
    """Have SQLite refuse, from now on, what a column of the table does not declare. Rows that are there stay."""
    run(connection, [_trigger(connection, table, "INSERT"), _trigger(connection, table, "UPDATE")])


def _trigger(connection: Connection, table: str, event: str) -> str:
    columns = list(_columns(connection, table))
    changed = {name: f"NEW.{name} IS NOT OLD.{name} AND " if event == "UPDATE" else "" for name, _kind in columns}
    wrong, refusals, odd = [], [], []
    for name, kind in columns:
        held, what = _HISTOGRAM if name == "histogram" else _HELD[kind.partition("(")[0]]
        limit = "".join(re.findall(r"[0-9]+", kind))
        if kind == "DATETIME":  # cheaper than asking whether it is a time, and true of whatever Rollguard writes
            condition = f"NEW.{name} NOT GLOB '{_TIME}'"
            odd.append((name, f"{changed[name]}{condition}"))
        else:
            condition = f"NOT ({held.format(f'NEW.{name}', limit)})"
        wrong.append(f"({changed[name]}NEW.{name} IS NOT NULL AND {condition})")
        refusals.append(
            f"  SELECT RAISE(ABORT, '{table}.{name} must be {what.format('', limit)}')\n"
            f"    WHERE {changed[name]}NEW.{name} IS NOT NULL AND NOT ({held.format(f'NEW.{name}', limit)});"
        )
    actions = (
        [*refusals, *(_normalised(table, name, condition) for name, condition in odd)]
        if _has_rowid(connection, table)
        else refusals
    )
    return (
        f"CREATE TRIGGER {table}_{event.lower()}_typed AFTER {event} ON {table}\nWHEN "
        + "\n  OR ".join(wrong)
        + "\nBEGIN\n"
        + "\n".join(actions)
        + "\nEND"
    )


def _normalised(table: str, name: str, condition: str) -> str:
    return f"  UPDATE {table} SET {name} = {_NORMAL.format(name)} WHERE rowid = NEW.rowid AND {condition};"


def _columns(connection: Connection, table: str) -> Iterator[tuple[str, str]]:
    """Return the columns and their declared types, but for one that is the row's own number."""
    rows = connection.exec_driver_sql(f"PRAGMA table_info({table})").all()
    keys = sum(row[5] > 0 for row in rows)
    for _number, name, kind, _needed, _default, key in rows:
        if not (key and keys == 1 and kind == "INTEGER"):
            yield name, kind


def _has_rowid(connection: Connection, table: str) -> bool:
    sql = connection.exec_driver_sql(f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name = '{table}'")
    return "WITHOUT ROWID" not in sql.scalar_one()
