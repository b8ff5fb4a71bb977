"""The contract's blocks, and plain connections to ask a database as its users do: without Rollguard between."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

BLOCKS = Path(__file__).parent / "blocks"
DOCS = Path(__file__).parents[2] / "docs"
Row = dict[str, Any]


def block(name: str) -> str:
    """A block of the contract, exactly as it stands there."""
    return (BLOCKS / name).read_text("utf-8")


def ask(url: str, sql: str, *, time_zone: str = "UTC") -> list[Row]:
    """The rows that a plain client sees.

    Args:
        time_zone: of the session, on PostgreSQL (SQLite has none).
    """
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(sql)]
        connection.close()
        return rows
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as postgres:
        postgres.execute("SELECT set_config('TimeZone', %s, false)", [time_zone])
        answer = postgres.execute(sql.encode())
        return answer.fetchall() if answer.description else []


def metrics(url: str, sql: str, deployment_time: datetime, *, time_zone: str = "UTC") -> tuple[int, int, float | None]:
    """A metrics block of the contract run for one deployment, verbatim as the body of an SQL function."""
    with psycopg.connect(url, autocommit=True) as postgres:
        postgres.execute("SELECT set_config('TimeZone', %s, false)", [time_zone])
        postgres.execute(
            "CREATE FUNCTION pg_temp.metrics(deployment_time timestamptz) "
            "RETURNS TABLE(total bigint, successes bigint, avg_duration double precision) "
            f"LANGUAGE sql AS $${sql}$$".encode()
        )
        row = postgres.execute("SELECT * FROM pg_temp.metrics(%s)", [deployment_time]).fetchone()
    assert row is not None
    return row


def moment(value: datetime | str) -> datetime:
    """A time as a client reads it; SQLite has them as text, in UTC."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value.astimezone(UTC)


def fenced(page: str, language: str) -> list[tuple[str, str]]:
    """(what follows the language on the opening line, text) of each fenced block of a page in that language."""
    text = (DOCS / page).read_text("utf-8")
    return [
        (found[1].strip(), found[2]) for found in re.finditer(rf"^```{language}\b(.*)\n((?s:.*?))^```$", text, re.M)
    ]
