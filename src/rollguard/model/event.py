"""Events: what people are notified of, one type for everything."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """What happened."""

    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    ROLLBACK_OBSERVED = "rollback_observed"
    ROLLBACK_CAPPED = "rollback_capped"
    RECOVERED = "recovered"
    NOT_THE_CAUSE = "not_the_cause"
    QUARANTINED_CODE = "quarantined_code"
    CONFIRMING = "confirming"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_ADVANCED = "rollout_advanced"
    ROLLOUT_FROZEN = "rollout_frozen"
    ROLLOUT_PROMOTED = "rollout_promoted"
    ROLLOUT_UNPROVEN = "rollout_unproven"
    ROLLOUT_FAILED = "rollout_failed"
    SLOWDOWN = "slowdown"
    EXTERNAL = "external"
    UNPROVEN_DROP = "unproven_drop"
    CREEPING = "creeping"
    SILENT = "silent"
    WATCHER_SILENT = "watcher_silent"
    WATCHER_BEHIND = "watcher_behind"
    PROPOSAL_WAITING = "proposal_waiting"


class Level(StrEnum):
    """How urgent an event is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Event:
    """One event that people are notified of. Every value is JSON-safe.

    Attributes:
        kind: what happened.
        level: how urgent it is.
        tool_name: the tool that it concerns; empty for a watcher.
        session_id: the monitoring session, if there is one.
        title: one line.
        reasons: the reasons, with numbers.
        occurred_at: when it happened, ISO 8601 in UTC.
        details: versions, severity, the investigation.
        event_id: the same at every delivery, so that a receiver recognizes a repeated one.
    """

    kind: EventKind
    level: Level
    tool_name: str
    session_id: int | None
    title: str
    reasons: tuple[str, ...]
    occurred_at: str
    details: dict[str, Any] = field(default_factory=dict)
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a plain, JSON-safe mapping."""
        return {
            **asdict(self),
            "kind": str(self.kind),
            "level": str(self.level),
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Event:
        """Return the event that `to_dict` wrote, without the fields that a newer Rollguard has added."""
        values = {name: stored[name] for name in cls.__dataclass_fields__}
        values.update(kind=EventKind(stored["kind"]), level=Level(stored["level"]), reasons=tuple(stored["reasons"]))
        return cls(**values)
