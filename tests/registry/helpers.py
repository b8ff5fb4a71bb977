"""What the tests of the registry share."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.store.schema import tool_executions


def executions(store: ExecutionStore, tool_name: str | None = None) -> list[dict[str, Any]]:
    """Every stored execution in the order of writing, parameters and results decoded."""
    query = sa.select(tool_executions).order_by(tool_executions.c.id)
    if tool_name is not None:
        query = query.where(tool_executions.c.tool_name == tool_name)
    with store.database.read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    for row in rows:
        for column in ("parameters", "result"):
            if row[column] is not None:
                row[column] = json.loads(row[column])
    return rows
