"""Deliver rows to the database in any state: raise nothing, lose nothing, store nothing twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rollguard.errors import NotARollguardStore, StoreError, StoreUnavailable
from rollguard.model.execution import Execution
from rollguard.model.log import logger_of
from rollguard.record.definitions import Definitions
from rollguard.record.fork_safety import renew_after_fork
from rollguard.record.sink import RowsRefused, Sink
from rollguard.record.spool import Spool

logger = logger_of(__name__)

RETRY_AFTER = 5.0  # seconds for which an unreachable database is not asked again
_AWAY = (StoreUnavailable, NotARollguardStore)  # caused by no row: keep them all and try again later


class Delivery:
    """Brings rows to the database. While it is away, they wait in the spool.

    If the database is there but refuses a row, Rollguard sets the row aside in a file beside the spool, so that it does
    not block the others.

    Args:
        store: where executions are stored.
        spool: where they wait.
        definitions: notes by which definition of failure they were counted, before they are stored.
        retry_after: seconds before an unreachable database is tried again, so that nobody waits for it.
        durable: whether stored rows survive a loss of power too (SQLite; PostgreSQL's server decides).
    """

    def __init__(
        self,
        store: Sink,
        spool: Spool,
        definitions: Definitions,
        *,
        retry_after: float = RETRY_AFTER,
        durable: bool = False,
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._durable = durable
        self.spool = spool
        self._durable_spool = spool if spool.fsync else Spool(spool.path, access=spool.access)
        self.refused = Spool(refused_beside(spool.path), fsync=spool.fsync, access=spool.access)
        self._retry_after = retry_after
        self._lock = threading.Lock()  # never held during file or database access
        renew_after_fork(self, "_lock", threading.Lock)
        self._away_until = 0.0
        self.lost = 0
        """Number of executions that could be neither stored nor spooled; each was logged as an error."""

    @property
    def away(self) -> bool:
        """Return whether the database was away at the last try."""
        return self._away_until > 0.0

    def deliver(self, rows: list[Execution]) -> int:
        """Store checked rows, or keep them for later. Raise nothing but an interruption such as Ctrl-C.

        Returns:
            Number of rows from the spool that were stored too.
        """
        handed = 0
        try:
            if not self._worth_asking():
                self.keep(rows)
                return 0
            handed = self.flush()
            self._write(rows)
        except _AWAY as error:
            self._note_away(error)
            self.keep(rows)
        except Exception:  # Rollguard's own error must not reach the tool
            logger.exception("executions of %s were not stored, so they wait in the spool", _tools(rows))
            self.keep(rows)
        except BaseException:  # they may be stored already; their ids make a second try harmless
            self.keep(rows)
            raise
        else:
            if rows or handed:  # the database answered
                with self._lock:
                    self._away_until = 0.0
        return handed

    def take(self, rows: list[Execution]) -> int | None:
        """Store rows, or keep them in the spool, so that they can be acknowledged: they survive a loss of power.

        Returns:
            Number of new executions; None if they wait in the spool.

        Raises:
            StoreUnavailable: neither the database nor the spool takes them; none of them may be acknowledged.
            StoreError: the database refuses one of them; none was stored.
        """
        if self._worth_asking():
            try:
                new = self._store.executions.write(rows, durable=True)
            except _AWAY as error:
                self._note_away(error)
            else:
                with self._lock:
                    self._away_until = 0.0
                return new
        try:
            self._durable_spool.append(*rows)
        except OSError as error:
            raise StoreUnavailable(f"the database is away, and {self.spool.path} takes nothing: {error}") from error
        return None

    def try_again(self) -> None:
        """Store the rows in the spool, if the database may be there. Raise nothing."""
        if self.spool.pending:
            self.deliver([])

    def flush(self, *, wait: bool = False) -> int:
        """Store the rows that wait in the spool.

        Args:
            wait: whether to wait for another thread or process that drains the spool; False leaves the rows to it.

        Returns:
            Number of executions handed to the database.

        Raises:
            StoreUnavailable: the database is still away; every row is kept.
        """
        try:
            handed = self.spool.drain(self._write, wait=wait)
        except OSError:  # these rows wait on; new executions must still be stored
            logger.exception("%s cannot be read, so what waits in it is not stored yet", self.spool.path)
            return 0
        if handed:
            logger.info("%d executions that waited in %s are stored", handed, self.spool.path)
        return handed

    def _worth_asking(self) -> bool:
        """Return whether to try the database. While it is away, one caller tries every `retry_after` seconds."""
        with self._lock:
            now = time.monotonic()
            if now < self._away_until:
                return False
            if self._away_until:
                self._away_until = now + self._retry_after
            return True

    def _note_away(self, error: Exception) -> None:
        with self._lock:
            first, self._away_until = not self._away_until, time.monotonic() + self._retry_after
        if first:
            logger.warning("executions go to %s until the database is back: %s", self.spool.path, error)

    def _write(self, rows: list[Execution]) -> None:
        """Write rows together or, if one of them is refused, each on its own."""
        try:
            self._definitions.note(rows)
            self._store.executions.write(rows, durable=self._durable)
        except _AWAY:
            raise
        except RowsRefused as refusal:
            for row in refusal.rows:
                self._set_aside(row, refusal)
        except Exception as refusal:  # noqa: BLE001 - logged when the row is set aside
            if len(rows) > 1:
                for row in rows:
                    self._write([row])
            else:
                self._set_aside(rows[0], refusal)

    def _set_aside(self, row: Execution, refusal: Exception) -> None:
        """Set a refused row aside, unless the database takes no rows at all, such as without the permission."""
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
        """Keep rows in the spool. Raise nothing."""
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
        """Keep as many of the first rows as there is room for, and return how many."""
        for number, row in enumerate(rows):
            try:
                self.spool.append(row)
            except Exception:  # noqa: BLE001 - the caller logs it, once for all rows
                return number
        return len(rows)

    def count_lost(self, number: int = 1) -> None:
        """Count executions as lost; each was logged."""
        with self._lock:
            self.lost += number


def refused_beside(spool: Path) -> Path:
    """Return the file for executions that the database refuses."""
    return spool.with_name(f"{spool.stem}-refused{spool.suffix}")


def _tools(rows: list[Execution]) -> str:
    return ", ".join(sorted({row.tool_name for row in rows}))
