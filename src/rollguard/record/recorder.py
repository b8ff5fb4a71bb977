"""Recording beside a tool's call: never raises into it, loses nothing while the database is away."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from typing import Any

from rollguard.errors import InvalidInput, NotARollguardStore, StoreUnavailable
from rollguard.record.forks import renew_after_fork
from rollguard.record.spool import Spool
from rollguard.store import ExecutionStore

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds for which an unreachable database is not asked again
_SHOWN = 500  # characters of a result that are told of a failure
_AWAY = (StoreUnavailable, NotARollguardStore)  # no row's fault: keep every one of them and try again later


class Recorder:
    """Stores executions as they happen; while the database is away they go to the spool, and from there to it later.

    An execution that the database refuses, though it is there, is set aside in a file beside the spool, so that it
    does not hold up the others.

    Args:
        store: where executions belong.
        spool: where they wait.
        retry_after: seconds for which an unreachable database is not asked again, so that calls do not wait for it.
    """

    def __init__(self, store: ExecutionStore, spool: Spool, *, retry_after: float = RETRY_AFTER) -> None:
        self._store = store
        self._spool = spool
        self._refused = Spool(spool.path.with_name(f"{spool.path.stem}-refused{spool.path.suffix}"))
        self._retry_after = retry_after
        self._lock = threading.Lock()  # held for an instant only, never while a file or the database is asked
        renew_after_fork(self, "_lock", threading.Lock)
        self._away_until = 0.0
        self.lost = 0
        """Executions that could be neither stored nor spooled; each was logged as an error."""

    def record(self, **execution: Any) -> None:
        """Store one execution, given as to `ExecutionStore.store_tool_execution`. Raises nothing."""
        try:
            row = self._store.executions.row(**execution)
        except InvalidInput:
            logger.exception("an execution of %r could not be recorded", execution.get("tool_name"))
            self._count_lost()
        else:
            self.record_row(row)

    def begin(
        self, tool_name: str, parameters: dict[str, Any], *, executed_at: datetime, version_number: int | None
    ) -> dict[str, Any]:
        """The row of a call that begins, with its parameters as they are now: the tool may change them."""
        return self._store.executions.row(
            tool_name=tool_name,
            success=False,
            parameters=parameters,
            executed_at=executed_at,
            version_number=version_number,
        )

    def end(self, row: dict[str, Any], *, success: bool, duration_ms: float, **outcome: Any) -> None:
        """Store the call that `begin` began; `outcome` is its error, error_type and result. Raises nothing."""
        ended = self._store.executions.row(
            tool_name=row["tool_name"], success=success, duration_ms=duration_ms, **outcome
        )
        known = ("parameters", "executed_at", "version_number", "execution_id")
        self.record_row({**ended, **{name: row[name] for name in known}})

    def record_row(self, row: dict[str, Any]) -> None:
        """Store one checked row. Raises nothing."""
        if not self._worth_asking():
            self._keep(row)
            return
        try:
            self.flush()
            self._write([row])
        except _AWAY as error:
            with self._lock:
                first, self._away_until = not self._away_until, time.monotonic() + self._retry_after
            if first:
                logger.warning("executions go to %s until the database is back: %s", self._spool.path, error)
            self._keep(row)
        except Exception:  # an error in here must not become the tool's
            logger.exception("an execution of %s was not stored, so it waits in the spool", row["tool_name"])
            self._keep(row)
        else:
            with self._lock:
                self._away_until = 0.0

    def flush(self) -> int:
        """Store what waits in the spool.

        Returns:
            How many executions were handed to the database.

        Raises:
            StoreUnavailable: the database is still away; nothing was forgotten.
        """
        try:
            handed = self._spool.drain(self._write)
        except OSError:  # what waits goes on waiting; that must not keep new executions from the database
            logger.exception("%s cannot be read, so what waits in it is not stored yet", self._spool.path)
            return 0
        if handed:
            logger.warning("%d executions that waited in %s are stored", handed, self._spool.path)
        return handed

    def shown(self, tool_name: str, result: Any) -> str:
        """A result as it may be shown in an error: as it is kept, redacted or left out, and not too long."""
        kept = self._store.executions.row(tool_name=tool_name, success=False, result=result)["result"]
        text = "null" if result is None else "a result that counts as a failure" if kept is None else str(kept)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

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
            logger.exception("the database refused an execution; it is set aside in %s", self._refused.path)
            try:
                self._refused.append(rows[0])
            except OSError:
                raise refusal from None

    def _keep(self, row: dict[str, Any]) -> None:
        try:
            self._spool.append(row)
        except Exception:  # a full disk, a read-only folder, ...
            logger.exception("an execution of %s is lost: neither stored nor spooled", row["tool_name"])
            self._count_lost()

    def _count_lost(self) -> None:
        with self._lock:
            self.lost += 1
