"""What the tests of the registry share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.sandbox import ToolCheck
from rollguard.store import digest
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


def checks_are_over() -> None:
    """Wait until no process of this one checks new code in the background any more."""
    for thread in threading.enumerate():
        if thread.name.startswith("rollguard-check-"):
            thread.join()


def checked_before(folder: Path, codes: Iterable[str], name: str = "my_tool") -> None:
    """Note on this machine that these codes load, as their deployments did."""
    checks = LoadChecks(folder)
    for code in codes:
        checks.keep(name, digest(code.encode()), ToolCheck(loads=True))
