"""Stores as the last Rollguard before the first release made them: schema 0012, kept here as the text of its SQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

SCHEMA = Path(__file__).parent / "schema_0012"


def make_old_store(url: str, *more: str) -> None:
    """Make an empty store of schema 0012, and run some more statements in it."""
    script = ";\n".join([(SCHEMA / f"{make_url(url).get_backend_name()}.sql").read_text("utf-8"), *more])
    if url.startswith("sqlite"):
        connection = sqlite3.connect(str(make_url(url).database))
        connection.executescript(script)
        connection.commit()
        connection.close()
    else:
        with psycopg.connect(url, options="-c timezone=UTC") as connection:
            connection.execute(script.encode())
