"""Rollouts: two versions of a tool that serve at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rollguard.judge import Arms
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.ramp import Ramp, State
from rollguard.model.split import Split

CANARY, CONFIRM = "canary", "confirm"


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout, under way or ended.

    Attributes:
        kind: `canary`: the old version is live, and the new one gets a rising share. `confirm`: the new one is live.
        session_id: the session that judges the new version.
        ramp: its stages, and where it is.
        draw_key: the key of the draw.
        arms: the counted units of both versions; None before the first check.
        counted_until, counted_id: when the last counted unit was drawn, and its row.
        revision: rises with every change of state.
        ended_by, ended_why: who ended it, and why.
    """

    rollout_id: int
    tool_name: str
    kind: str
    session_id: int
    old_version: int
    new_version: int
    ramp: Ramp
    draw_key: bytes = field(repr=False)
    arms: Arms | None
    counted_until: datetime | None
    counted_id: int
    revision: int
    started_by: str
    reason: str | None
    ended_by: str | None
    ended_why: str | None

    @property
    def open(self) -> bool:
        """Return whether both versions serve."""
        return not self.ramp.ended

    @property
    def split(self) -> Split | None:
        """Return what processes draw by; None if one version serves alone."""
        if not self.open:
            return None
        ramp = self.ramp
        return Split(self.rollout_id, self.old_version, self.new_version, ramp.stage, ramp.share, self.draw_key)

    def to_dict(self) -> dict[str, Any]:
        """Return the rollout as a JSON-safe mapping, without the key."""
        names = ("rollout_id", "tool_name", "kind", "session_id", "old_version", "new_version")
        ends = ("started_by", "reason", "ended_by", "ended_why")
        ramp = self.ramp.to_dict()
        counted = None if self.arms is None else self.arms.to_dict()
        return {
            **{name: getattr(self, name) for name in names},
            **{"state": ramp["state"], "stage": ramp["stage"], "share": self.ramp.share},
            **{"shares": ramp["plan"]["shares"], "started_at": ramp["started_at"], "ended_at": ramp["ended_at"]},
            **{name: getattr(self, name) for name in ends},
            "arms": counted,
        }


_EVENTS = {
    State.FROZEN: (EventKind.ROLLOUT_FROZEN, Level.WARNING, "the share of version {new} is held"),
    State.PROMOTED: (EventKind.ROLLOUT_PROMOTED, Level.INFO, "version {new} went live at the end of its rollout"),
    State.UNPROVEN: (
        EventKind.ROLLOUT_UNPROVEN,
        Level.WARNING,
        "version {old} serves alone again, version {new} is unproven",
    ),
    State.FAILED: (EventKind.ROLLOUT_FAILED, Level.CRITICAL, "version {old} serves alone again, version {new} failed"),
}


def rollout_event(rollout: Rollout, ramp: Ramp, why: str, now: datetime) -> dict[str, Any] | None:
    """Return the event of a rollout that enters the state of `ramp`; None if nobody needs to be notified of it."""
    if ramp.state not in _EVENTS:
        return None
    kind, level, title = _EVENTS[ramp.state]
    names = ("rollout_id", "old_version", "new_version")
    details = {**{name: getattr(rollout, name) for name in names}, "stage": rollout.ramp.stage, "share": ramp.share}
    title = f"{rollout.tool_name}: {title.format(old=rollout.old_version, new=rollout.new_version)}"
    at = now.astimezone(UTC).isoformat()
    return Event(kind, level, rollout.tool_name, rollout.session_id, title, (why,), at, details).to_dict()
