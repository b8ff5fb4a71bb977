"""From rows to the database, whatever state it is in: nothing is raised, nothing is lost, nothing is stored twice."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from rollguard.errors import NotARollguardStore, StoreError, StoreUnavailable
from rollguard.model.execution import Execution
from rollguard.record.fork_safety import renew_after_fork
from rollguard.record.spool import Spool
from rollguard.store import ExecutionStore

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds for which an unreachable database is not asked again
_AWAY = (StoreUnavailable, NotARollguardStore)  # no row's fault: keep every one of them and try again later


class Delivery:
    """Brings rows to the database; while it is away they go to the spool, and from there to it later.

    A row that the database refuses, though it is there, is set aside in a file beside the spool, so that it does not
    hold up the others.

    Args:
        store: where executions belong.
        spool: where they wait.
        retry_after: seconds for which an unreachable database is not asked again, so that nobody waits for it.
        durable: whether what is stored survives the loss of power too (SQLite; PostgreSQL's server decides).
    """

    def __init__(
        self, store: ExecutionStore, spool: Spool, *, retry_after: float = RETRY_AFTER, durable: bool = False
    ) -> None:
        self._store = store
        self._durable = durable
        self.spool = spool
        self.refused = Spool(refused_beside(spool.path), fsync=spool.fsync)
        self._retry_after = retry_after
        self._lock = threading.Lock()  # held for an instant only, never while a file or the database is asked
        renew_after_fork(self, "_lock", threading.Lock)
        self._away_until = 0.0
        self.lost = 0
        """Executions that could be neither stored nor spooled; each was logged as an error."""

    @property
    def away(self) -> bool:
        """Whether the database was away when it was last asked."""
        return self._away_until > 0.0

    def deliver(self, rows: list[Execution]) -> int:
        """Store checked rows, or keep them for later. Raises nothing but what interrupts it, such as Ctrl-C.

        Returns:
            How many rows that waited in the spool were stored on the way.
        """
        handed = 0
        try:
            if not self._worth_asking():
                self.keep(rows)
                return 0
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
        except BaseException:  # whether they are stored is not known; their ids make it harmless to do it again
            self.keep(rows)
            raise
        else:
            if rows or handed:  # the database was asked
                with self._lock:
                    self._away_until = 0.0
        return handed

    def try_again(self) -> None:
        """Store what waits in the spool, if the database may be there. Raises nothing."""
        if self.spool.pending:
            self.deliver([])

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
            handed = self.spool.drain(self._write, wait=wait)
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

    def _write(self, rows: list[Execution]) -> None:
        """Write rows, all in one go or, when one of them is refused, each on its own."""
        try:
            self._store.executions.write(rows, durable=self._durable)
        except _AWAY:
            raise
        except Exception as refusal:  # noqa: BLE001 - whatever it is, it is told where the row is set aside
            if len(rows) > 1:
                for row in rows:
                    self._write([row])
            else:
                self._set_aside(rows[0], refusal)

    def _set_aside(self, row: Execution, refusal: Exception) -> None:
        """Set a refused row aside, if it is the row that is refused and not, for want of a right, every one."""
        try:
            self._store.executions.try_writing()
        except _AWAY:
            raise
        except StoreError as error:
            raise StoreUnavailable(f"the database takes no executions: {error}") from refusal
        logger.error("the database refused an execution; it is set aside in %s", self.refused.path, exc_info=refusal)
        try:
            self.refused.append(row)
        except OSError:
            raise refusal from None

    def keep(self, rows: list[Execution]) -> None:
        """Keep rows in the spool. Raises nothing."""
        if not rows:
            return
        try:
            self.spool.append(*rows)
        except Exception as error:  # a full disk, a read-only folder, ...
            lost = rows[self._kept_of(rows) :]
            if lost:
                logger.error(
                    "%d executions of %s are lost: neither stored nor spooled", len(lost), _tools(lost), exc_info=error
                )
                self.count_lost(len(lost))

    def _kept_of(self, rows: list[Execution]) -> int:
        """Keep as many of the first rows as there is room for; how many these are."""
        for number, row in enumerate(rows):
            try:
                self.spool.append(row)
            except Exception:  # noqa: BLE001 - told by the caller, for all of them at once
                return number
        return len(rows)

    def count_lost(self, number: int = 1) -> None:
        """So many executions are lost; each was logged."""
        with self._lock:
            self.lost += number


def refused_beside(spool: Path) -> Path:
    """Where executions are set aside that the database refuses."""
    return spool.with_name(f"{spool.stem}-refused{spool.suffix}")


def _tools(rows: list[Execution]) -> str:
    return ", ".join(sorted({row.tool_name for row in rows}))
