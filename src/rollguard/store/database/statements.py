"""SQL statements that are files of their own, and those that a dialect has of its own."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import Any


def statements(package: str, dialect: str) -> dict[str, str]:
    """Return the statements of a package for a dialect, read from `sql/DIALECT/NAME.sql` without comments, by name."""
    folder = files(package) / "sql" / dialect
    return {file.name.removesuffix(".sql"): _without_comments(file.read_text("utf-8")) for file in folder.iterdir()}


def insert_into(table: Any, dialect: str) -> Any:
    """Return an INSERT that knows ON CONFLICT. The other dialect is not imported: PostgreSQL's is large."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
