"""What the store knows of the calls. Everything on the screen is read from here, so it shows what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.store.schema import tool_executions as t


@dataclass(frozen=True)
class Call:
    """One row of `tool_executions`."""

    tool: str
    version: int | None
    success: bool
    duration_ms: float
    error: str
    arguments: dict[str, Any]
    result: Any
    at: datetime

    @property
    def about(self) -> str:
        """The name of the file that the call was about."""
        return Path(str(self.arguments.get("file", ""))).name


@dataclass(frozen=True)
class Stretch:
    """Calls of one tool, one after the other, that were served by the same version."""

    version: int | None
    total: int
    failed: int

    @property
    def success_rate(self) -> float:
        """Share of the calls that succeeded."""
        return (self.total - self.failed) / self.total


class Journal:
    """Reads the calls that were recorded since the last read, oldest first.

    Attributes:
        calls: all that were read so far.
    """

    def __init__(self, store: ExecutionStore, tools: Iterable[str]) -> None:
        self._store = store
        self._tools = tuple(tools)
        self._last = 0
        self.calls: list[Call] = []

    def read(self) -> list[Call]:
        """The calls that are new."""
        query = sa.select(t).where(t.c.id > self._last, t.c.tool_name.in_(self._tools)).order_by(t.c.id)
        with self._store.database.read() as connection:
            rows = connection.execute(query).all()
        new = [
            Call(
                tool=row.tool_name,
                version=row.version_number,
                success=row.success,
                duration_ms=row.duration_ms or 0.0,
                error=f"{row.error_type}: {row.error}" if row.error_type else row.error or "",
                arguments=json.loads(row.parameters or "{}"),
                result=json.loads(row.result or "null"),
                at=row.executed_at,
            )
            for row in rows
        ]
        self._last = rows[-1].id if rows else self._last
        self.calls += new
        return new

    def of(self, tool: str, version: int | None = None) -> list[Call]:
        """The calls of one tool, or of one version of it."""
        return [call for call in self.calls if call.tool == tool and version in (None, call.version)]

    def stretches(self, tool: str) -> list[Stretch]:
        """How the tool did under each version that served it, in the order of time."""
        found = []
        for version, group in groupby(self.of(tool), key=lambda call: call.version):
            calls = list(group)
            found.append(Stretch(version, len(calls), sum(not call.success for call in calls)))
        return found
