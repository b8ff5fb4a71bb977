"""A health check that is to be recorded, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollguard.judge import Verdict
from rollguard.model.event import Event, EventKind


@dataclass(frozen=True, slots=True)
class NewCheck:
    """A health check to record.

    Attributes:
        session_id: the session that was checked.
        columns: those of `deployment_health_checks`, but for the ids.
        events: what people are notified of when it begins, and not at every check while it lasts.
        required: False records the check only if one of its events begins with it.
    """

    session_id: int
    columns: dict[str, Any]
    events: Mapping[EventKind, Event]
    required: bool = True


def reported_by(columns: Mapping[str, Any]) -> frozenset[EventKind]:
    """Return what a check reports without acting upon it, from its columns."""
    kinds = {EventKind.SLOWDOWN} if columns["performance_degradation"] else set()
    if columns["silent_since"] is not None:
        kinds.add(EventKind.SILENT)
    if columns["verdict"] == Verdict.EXTERNAL:
        kinds.add(EventKind.EXTERNAL)
    elif columns["verdict"] == Verdict.INSUFFICIENT_DATA and columns["regression_detected"] and not _confirms(columns):
        kinds.add(EventKind.UNPROVEN_DROP)
    if "creeping" in (columns.get("record") or ()):
        kinds.add(EventKind.CREEPING)
    return frozenset(kinds)


def _confirms(columns: Mapping[str, Any]) -> bool:
    """Return whether both versions confirm what a check found; the rollout notifies people of that itself."""
    record = columns.get("record") or {}
    return "confirmation" in record or bool((record.get("concurrent") or {}).get("confirms"))
