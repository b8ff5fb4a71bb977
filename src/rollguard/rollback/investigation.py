"""Investigate which errors came with a deployment; the result is stored with its rollback."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rollguard.errors import StoreBusy
from rollguard.investigate import Cause, causes_since_deployment
from rollguard.judge.error_signatures import Failed, investigate
from rollguard.model.execution import Failure
from rollguard.model.failed_at import place_of
from rollguard.model.log import logger_of
from rollguard.model.session import Session
from rollguard.store import ExecutionStore

logger = logger_of(__name__)

_FOR_CAUSES = 3  # so much of the time has to be left to look for causes
WITHIN = 0.2  # seconds: a rollback waits no longer
_MOST = 1_000  # failures of each window that are read, latest first; each text is cut, so that bounds the bytes


def investigation_of(
    store: ExecutionStore, session: Session, until: datetime, *, within: float = WITHIN, look_for_causes: bool = True
) -> dict[str, Any]:
    """Count the error signatures since the deployment and in the baseline, with samples. Raise nothing.

    Args:
        within: seconds that it may take; half of them to read.
        look_for_causes: False only counts the error signatures.

    Returns:
        `causes`, see `rollguard.investigate.Cause`, none if the time was over; `signatures`, see
        `rollguard.judge.error_signatures.investigate`, and how many failures of each window were counted:
        `failures_before` and `failures_since`. If those are not all, `incomplete` says why; else it is None.
    """
    began = time.monotonic()
    counted = {"since": 0, "before": 0}
    read: dict[str, list[Failure]] = {"since": [], "before": []}
    incomplete, answers = None, True

    def in_time(window: str) -> Iterator[Failed]:
        for failure in read[window]:
            if time.monotonic() > began + within:
                return
            counted[window] += 1
            yield _failed(failure)

    executions = store.executions
    try:
        for window, failures in (("since", executions.failures_since), ("before", executions.failures_before)):
            left = began + within / 2 - time.monotonic()
            read[window] = failures(session, until, _MOST, within=left)
    except Exception as error:  # noqa: BLE001 - whatever it is, the rollback goes on, and its record says so
        level = logging.WARNING if look_for_causes else logging.DEBUG  # a page is read again
        logger.log(level, "%s: what failed could not be investigated: %s", session.tool_name, error)
        answers, incomplete = False, f"it failed: {type(error).__name__}: {error}"[:500]
    signatures = investigate(in_time("before"), in_time("since"))
    if incomplete is None and any(
        len(failures) == _MOST or counted[window] < len(failures) for window, failures in read.items()
    ):
        incomplete = f"only the latest {counted['since']:,} and {counted['before']:,} failures were counted"
    causes: list[Cause] = []
    left = began + within - time.monotonic()
    if look_for_causes and answers and left > within / _FOR_CAUSES:
        try:
            causes = causes_since_deployment(store, session, until, within=left / 2)
        except Exception as error:  # noqa: BLE001 - as above
            level = logging.INFO if isinstance(error, StoreBusy) else logging.WARNING  # the time is short on purpose
            logger.log(level, "%s: no cause was looked for: %s", session.tool_name, error)
    return {
        "causes": [cause.to_dict() for cause in causes],
        "failures_before": counted["before"],
        "failures_since": counted["since"],
        "incomplete": incomplete,
        "signatures": signatures,
    }


def _failed(failure: Failure) -> Failed:
    at: Any = failure.executed_at  # on SQLite another program's time may be unreadable
    sample = {
        "execution_id": failure.execution_id,
        "executed_at": at.isoformat() if at else None,
        "error": failure.error or "",
        "parameters": failure.parameters or "",
    }
    return Failed(failure.error_type, failure.error, sample, place_of(failure.failed_at))
