"""Recording beside a tool's call: never raises into it, loses nothing while the database is away."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from rollguard.errors import InvalidInput, StoreError, StoreUnavailable
from rollguard.record.spool import Spool
from rollguard.store import ExecutionStore

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds for which an unreachable database is not asked again


class Recorder:
    """Stores executions as they happen; while the database is away they go to the spool, and from there to it later.

    Args:
        store: where executions belong.
        spool: where they wait.
        retry_after: seconds for which an unreachable database is not asked again, so that calls do not wait for it.
    """

    def __init__(self, store: ExecutionStore, spool: Spool, *, retry_after: float = RETRY_AFTER) -> None:
        self._store = store
        self._spool = spool
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self._away_until = 0.0
        self.lost = 0
        """Executions that could be neither stored nor spooled; each was logged as an error."""

    def record(self, **execution: Any) -> None:
        """Store one execution, given as to `ExecutionStore.store_tool_execution`. Raises nothing."""
        try:
            row = self._store.executions.row(**execution)
        except InvalidInput:
            logger.exception("an execution of %s could not be recorded", execution.get("tool_name"))
            self._count_lost()
            return
        if time.monotonic() < self._away_until:
            self._keep(row)
            return
        try:
            self.flush()
            self._store.executions.write([row])
        except StoreUnavailable as error:
            if not self._away_until:
                logger.warning("executions go to %s until the database is back: %s", self._spool.path, error)
            self._away_until = time.monotonic() + self._retry_after
            self._keep(row)
        except StoreError:
            logger.exception("the database refused an execution of %s, so it waits in the spool", row["tool_name"])
            self._keep(row)
        else:
            self._away_until = 0.0

    def flush(self) -> int:
        """Store what waits in the spool.

        Returns:
            How many executions were handed to the database.

        Raises:
            StoreUnavailable: the database is still away; nothing was forgotten.
        """
        with self._lock:
            handed = self._spool.drain(self._store.executions.write)
        if handed:
            logger.warning("%d executions that waited in %s are stored", handed, self._spool.path)
        return handed

    def _keep(self, row: dict[str, Any]) -> None:
        try:
            self._spool.append(row)
        except OSError:
            logger.exception("an execution of %s is lost: neither stored nor spooled", row["tool_name"])
            self._count_lost()

    def _count_lost(self) -> None:
        with self._lock:
            self.lost += 1
