"""Whole statements in files of SQL, for migrations that read best so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.engine import Connection


def statements(migration: str, dialect: str, *, optional: bool = False) -> list[str]:
    """Return the statements of a migration's file for one database. An empty line separates them.

    Args:
        optional: whether a migration without a file for that database has no statements there.
    """
    file = Path(__file__).parent / "versions" / f"{migration}.{dialect}.sql"
    if optional and not file.exists():
        return []
    return file.read_text("utf-8").split(";\n\n")


def run(connection: Connection, some: Iterable[str]) -> None:
    """Execute statements as they stand: a % or a colon in them is no parameter."""
    connection.execution_options(no_parameters=True)
    for statement in some:
        connection.exec_driver_sql(statement)
