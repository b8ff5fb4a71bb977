"""Check many sessions and act on each. One session's failure is recorded and never stops another's check."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice

from rollguard.errors import StoreError
from rollguard.model.given import checked_now
from rollguard.model.log import logger_of
from rollguard.model.session import Session
from rollguard.monitor.actions import Actions, ActionTaken
from rollguard.monitor.checker import Checker
from rollguard.monitor.report import HealthReport, failed_check_row
from rollguard.store import ExecutionStore

logger = logger_of(__name__)

BATCH = 500  # sessions checked together


class SessionChecks:
    """Checks sessions in batches and acts on the results.

    Args:
        store: where failed checks are recorded.
        checker: makes the checks.
        actions: acts on them.
    """

    def __init__(self, store: ExecutionStore, checker: Checker, actions: Actions) -> None:
        self._store, self._checker, self._actions = store, checker, actions

    def run(
        self, sessions: Iterable[Session], now: datetime | None, *, scheduled: bool = True
    ) -> Iterator[ActionTaken | Exception]:
        """Check sessions and act on each, while you iterate over the result.

        Args:
            now: the present moment; None reads the clock for each batch and action, since a rollback may take minutes.
            scheduled: False for checks between the schedule's; see `Checker.check`.

        Yields:
            For each session the action taken, or the exception that stopped its check or action.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        remaining = iter(sessions)
        while True:
            with no_collections():
                batch = list(islice(remaining, BATCH))
                reports = self._checker.check_each(batch, moment_of(now), scheduled=scheduled) if batch else []
            if not batch:
                return
            for session, report in zip(batch, reports, strict=True):
                yield self._act(session, report, moment_of(now))

    def _act(self, session: Session, report: HealthReport | Exception, now: datetime) -> ActionTaken | Exception:
        try:
            if isinstance(report, Exception):
                raise report
            return self._actions.take(report, now)
        except Exception as error:  # noqa: BLE001 - one session's failure never stops another's check
            logger.error("session %d of %s: %s", session.session_id, session.tool_name, error)
            record_failed_check(self._store, session, error, now)
            return error


@contextmanager
def no_collections() -> Iterator[None]:
    """Suspend the cyclic garbage collector, which many new objects start again and again; a batch makes no cycles.

    It takes a quarter of the time of a batch otherwise, and more in a process with many objects.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def record_failed_check(store: ExecutionStore, session: Session, error: Exception, now: datetime) -> None:
    """Record that a check failed and why, so that people see it. The next check tries again."""
    try:
        store.sessions.record_check(session.session_id, failed_check_row(session, error, now))
    except StoreError as second:  # usually the same cause; the log is all that is left
        logger.error("the failed check of session %d could not be recorded: %s", session.session_id, second)


moment_of = checked_now
