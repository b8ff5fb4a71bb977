"""SQL statements that are files of their own."""

from __future__ import annotations

from importlib.resources import files


def statements(package: str, dialect: str) -> dict[str, str]:
    """Return the statements of a package for a dialect, read from `sql/DIALECT/NAME.sql`, by name."""
    folder = files(package) / "sql" / dialect
    return {file.name.removesuffix(".sql"): file.read_text("utf-8") for file in folder.iterdir()}
