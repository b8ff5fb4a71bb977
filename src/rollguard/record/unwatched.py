"""Log that nobody watches, from a process that serves tools."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import timedelta

from rollguard.errors import StoreError
from rollguard.model.log import logger_of
from rollguard.model.watcher import Coverage
from rollguard.record.sink import Sink

logger = logger_of(__name__)


class Unwatched:
    """Logs once in an interval that sessions are active and no watcher runs, so that it is seen where tools run.

    Args:
        store: holds the sessions and the watchers.
        every: seconds between two checks; the first is made after the first interval.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, store: Sink, *, every: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._every, self._clock = store, every, clock
        self._due = clock() + every
        store.database.before_closing(self.stop)

    def stop(self) -> None:
        """Ask nothing more: the store is being closed."""
        self._due = math.inf

    def resume(self) -> None:
        """Ask again: tools run."""
        if self._due == math.inf:
            self._due = self._clock() + self._every

    def check(self) -> None:
        """Log an error if nobody watches and the check is due. Raise nothing."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + self._every
        try:
            watching = self._store.watchers.watching()
        except StoreError as error:  # the recorder says that it is away
            logger.debug("whether anybody watches is not known: %s", error)
            return
        except Exception:  # Rollguard's own error must not reach a tool's caller
            logger.exception("whether anybody watches could not be found out")
            return
        if watching.coverage(timedelta(seconds=self._every)) is Coverage.NOBODY:
            logger.error(
                "nobody watches %d monitored deployments: nothing is checked or rolled back. Start: rollguard watch",
                watching.active,
            )
