"""Investigate which errors came with a deployment; the result is stored with its rollback."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rollguard.judge.error_signatures import Failed, investigate
from rollguard.model.execution import Failure
from rollguard.model.session import Session
from rollguard.store import ExecutionStore

_MOST = 10_000  # failures of each window that are read, latest first
_SAMPLE = 500  # characters of an error or of parameters in a sample


def investigation_of(store: ExecutionStore, session: Session, until: datetime) -> dict[str, Any]:
    """Count the error signatures since the deployment and in the baseline, with samples.

    Returns:
        `signatures`, see `rollguard.judge.error_signatures.investigate`, and how many failures of each window were
        read: `failures_before` and `failures_since`.
    """
    before, since = store.executions.failures(session, until, _MOST)
    return {
        "failures_before": len(before),
        "failures_since": len(since),
        "signatures": investigate(map(_failed, before), map(_failed, since)),
    }


def _failed(failure: Failure) -> Failed:
    sample = {
        "execution_id": failure.execution_id,
        "executed_at": failure.executed_at.isoformat(),
        "error": (failure.error or "")[:_SAMPLE],
        "parameters": (failure.parameters or "")[:_SAMPLE],
    }
    return Failed(failure.error_type, failure.error, sample)
