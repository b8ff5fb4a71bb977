"""Note in the store since when a tool's calls are recorded by one definition of failure."""

from __future__ import annotations

from datetime import UTC, datetime

from rollguard.errors import StoreError, StoreUnavailable
from rollguard.model.execution import Execution
from rollguard.model.log import logger_of
from rollguard.record.sink import Sink

logger = logger_of(__name__)


class Definitions:
    """The time limits that a recorder counts by, each noted once before the first execution of its tool is stored.

    Args:
        store: keeps since when each tool is counted so.
    """

    def __init__(self, store: Sink) -> None:
        self._store = store
        self._limits: dict[str, float | None] = {}
        self._noted: dict[str, float | None] = {}

    def define(self, tool_name: str, timeout_seconds: float | None) -> None:
        """Remember the time limit of a tool's calls."""
        self._limits[tool_name] = timeout_seconds

    def note(self, rows: list[Execution]) -> None:
        """Note what is new among the tools of some rows.

        Raises:
            StoreUnavailable: the database is away.
        """
        if len(self._limits) == len(self._noted) and self._limits == self._noted:
            return
        first: dict[str, Execution] = {}
        for row in rows:
            name = row.tool_name
            if name in self._limits and (name not in self._noted or self._noted[name] != self._limits[name]):
                first.setdefault(name, row)
        if not first:
            return
        wanted = {name: (self._limits[name], row.executed_at or datetime.now(UTC)) for name, row in first.items()}
        try:
            self._store.definitions.note(wanted)
        except StoreUnavailable:
            raise
        except StoreError as error:  # the executions must be stored all the same; hangs are reported without it
            logger.warning("since when hangs of %s are counted is not noted: %s", ", ".join(first), error)
            return
        self._noted |= {name: limit for name, (limit, _at) in wanted.items()}
