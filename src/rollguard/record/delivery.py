"""From rows to the database, whatever state it is in: nothing is raised, nothing is lost, nothing is stored twice."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from rollguard.errors import NotARollguardStore, StoreUnavailable
from rollguard.record.forks import renew_after_fork
from rollguard.record.spool import Spool
from rollguard.store import ExecutionStore

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds for which an unreachable database is not asked again
_AWAY = (StoreUnavailable, NotARollguardStore)  # no row's fault: keep every one of them and try again later


_NEWER = {"request_id": None}  # what a line lacks that an older version spooled


class Delivery:
    """Brings rows to the database; while it is away they go to the spool, and from there to it later.

    A row that the database refuses, though it is there, is set aside in a file beside the spool, so that it does not
    hold up the others.

    Args:
        store: where executions belong.
        spool: where they wait.
        retry_after: seconds for which an unreachable database is not asked again, so that nobody waits for it.
    """

    def __init__(self, store: ExecutionStore, spool: Spool, *, retry_after: float = RETRY_AFTER) -> None:
        self._store = store
        self.spool = spool
        self.refused = Spool(refused_beside(spool.path))
        self._retry_after = retry_after
        self._lock = threading.Lock()  # held for an instant only, never while a file or the database is asked
        renew_after_fork(self, "_lock", threading.Lock)
        self._away_until = 0.0
        self.lost = 0
        """Executions that could be neither stored nor spooled; each was logged as an error."""

    def deliver(self, rows: list[dict[str, Any]]) -> int:
        """Store checked rows, or keep them for later. Raises nothing.

        Returns:
            How many rows that waited in the spool were stored on the way.
        """
        if not self._worth_asking():
            self.keep(rows)
            return 0
        handed = 0
        try:
            handed = self.flush()
            self._write(rows)
        except _AWAY as error:
            with self._lock:
                first, self._away_until = not self._away_until, time.monotonic() + self._retry_after
            if first:
                logger.warning("executions go to %s until the database is back: %s", self.spool.path, error)
            self.keep(rows)
        except Exception:  # an error in here must not become the tool's
            logger.exception("executions of %s were not stored, so they wait in the spool", _tools(rows))
            self.keep(rows)
        else:
            with self._lock:
                self._away_until = 0.0
        return handed

    def flush(self, *, wait: bool = False) -> int:
        """Store what waits in the spool.

        Args:
            wait: whether to wait for another thread or process that is at it; otherwise it is left to them.

        Returns:
            How many executions were handed to the database.

        Raises:
            StoreUnavailable: the database is still away; nothing was forgotten.
        """
        try:
            handed = self.spool.drain(lambda rows: self._write([{**_NEWER, **row} for row in rows]), wait=wait)
        except OSError:  # what waits goes on waiting; that must not keep new executions from the database
            logger.exception("%s cannot be read, so what waits in it is not stored yet", self.spool.path)
            return 0
        if handed:
            logger.info("%d executions that waited in %s are stored", handed, self.spool.path)
        return handed

    def _worth_asking(self) -> bool:
        """Whether the database is thought to be there; of those who call while it is away, one asks now and then."""
        with self._lock:
            now = time.monotonic()
            if now < self._away_until:
                return False
            if self._away_until:
                self._away_until = now + self._retry_after
            return True

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write rows, all in one go or, when one of them is refused, each on its own."""
        try:
            self._store.executions.write(rows)
        except _AWAY:
            raise
        except Exception as refusal:
            if len(rows) > 1:
                for row in rows:
                    self._write([row])
                return
            logger.exception("the database refused an execution; it is set aside in %s", self.refused.path)
            try:
                self.refused.append(rows[0])
            except OSError:
                raise refusal from None

    def keep(self, rows: list[dict[str, Any]]) -> None:
        """Keep rows in the spool. Raises nothing."""
        try:
            self.spool.append(*rows)
        except Exception:  # a full disk, a read-only folder, ...
            logger.exception("%d executions of %s are lost: neither stored nor spooled", len(rows), _tools(rows))
            self.count_lost(len(rows))

    def count_lost(self, number: int = 1) -> None:
        """So many executions are lost; each was logged."""
        with self._lock:
            self.lost += number


def refused_beside(spool: Path) -> Path:
    """Where executions are set aside that the database refuses."""
    return spool.with_name(f"{spool.stem}-refused{spool.suffix}")


def _tools(rows: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({row["tool_name"] for row in rows}))
