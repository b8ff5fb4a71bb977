"""PostgreSQL: many executions by one statement, each `execution_id` once, across all partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.store.types import utc

_TYPES = {
    "execution_id": "text",
    "tool_name": "text",
    "version_number": "int",
    "success": "bool",
    "duration_ms": "float8",
    "error_type": "text",
    "error": "text",
    "parameters": "text",
    "result": "text",
    "executed_at": "timestamptz",
    "request_id": "text",
}
_COLUMNS = ", ".join(_TYPES)

# The ids go first and are waited for: of two who write the same one at once, the second finds it stored. They go in
# their own order, so that two who write the same ids never wait for each other.
_ONCE = sa.text(f"""
WITH given AS (
    SELECT * FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _TYPES.items())})
    WITH ORDINALITY AS g({_COLUMNS}, place)
),
fresh AS (
    INSERT INTO execution_keys (execution_id, executed_at)
    SELECT execution_id, executed_at FROM given ORDER BY execution_id
    ON CONFLICT DO NOTHING RETURNING execution_id
)
INSERT INTO tool_executions ({_COLUMNS})
SELECT {_COLUMNS} FROM given JOIN fresh USING (execution_id) ORDER BY place""")

# For any other INSERT a trigger does the same row by row. For many rows that takes longer, so here it need not; for one
# it takes less time than asking for that does.
_ONE = sa.text(f"INSERT INTO tool_executions ({_COLUMNS}) VALUES ({', '.join(f':{name}' for name in _TYPES)})")
_KEYED = sa.text("SELECT set_config('rollguard.keyed', 'on', true)")


def write_once(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Insert rows whose `execution_id` is not stored yet, in the caller's transaction; how many is returned."""
    if len(rows) == 1:
        return connection.execute(_ONE, {**rows[0], "executed_at": utc(rows[0]["executed_at"])}).rowcount
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["execution_id"], row)
    values: dict[str, list[Any]] = {name: [row[name] for row in first.values()] for name in _TYPES}
    values["executed_at"] = [utc(moment) for moment in values["executed_at"]]
    connection.execute(_KEYED)
    return connection.execute(_ONCE, values).rowcount
