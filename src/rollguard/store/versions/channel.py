"""Tell other processes at once that what serves a tool's calls has changed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

CHANNEL = "rollguard_deployments"
"""The channel on which PostgreSQL notifies of a moved pointer or a changed share, with the tool's name."""


def notify(connection: Connection, tool_name: str) -> None:
    """Notify when the transaction commits. On SQLite others look at the file themselves."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, tool_name)))
