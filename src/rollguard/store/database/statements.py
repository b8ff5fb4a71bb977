"""SQL statements that are files of their own."""

from __future__ import annotations

from importlib.resources import files


def statements(package: str, dialect: str) -> dict[str, str]:
    """Return the statements of a package for a dialect, read from `sql/DIALECT/NAME.sql` without comments, by name."""
    folder = files(package) / "sql" / dialect
    return {file.name.removesuffix(".sql"): _without_comments(file.read_text("utf-8")) for file in folder.iterdir()}


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
