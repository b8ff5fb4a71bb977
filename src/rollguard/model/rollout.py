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
    State.FROZEN: (EventKind.ROLLOUT_FROZEN, Level.WARNING, "the share of version {new} is held at {share:.3g} %"),
    State.PROMOTED: (EventKind.ROLLOUT_PROMOTED, Level.INFO, "version {new} went live at the end of its rollout"),
    State.UNPROVEN: (
        EventKind.ROLLOUT_UNPROVEN,
        Level.WARNING,
        "version {old} serves alone again, version {new} is unproven",
    ),
    State.FAILED: (EventKind.ROLLOUT_FAILED, Level.CRITICAL, "version {old} serves alone again, version {new} failed"),
}
_ADVANCED = EventKind.ROLLOUT_ADVANCED, Level.INFO, "version {new} serves {share:.3g} % of the calls now"
_STARTED = EventKind.ROLLOUT_STARTED, Level.INFO, "version {new} serves {share:.3g} % beside version {old}"
_UNCONFIRMED = "version {new} serves alone again: its confirmation gave no answer"


def change_event(rollout: Rollout, ramp: Ramp, why: str, now: datetime) -> dict[str, Any] | None:
    """Return the event of a rollout that changes to `ramp`; None if nobody needs to be notified of it.

    A rollback notifies people itself.
    """
    before = rollout.ramp
    if ramp.state is not before.state:
        found = _EVENTS.get(ramp.state)
    else:
        found = _ADVANCED if ramp.stage > before.stage and rollout.kind == CANARY else None
    if found is None:
        return None
    kind, level, title = found
    if rollout.kind == CONFIRM:
        level, title = Level.WARNING, _UNCONFIRMED
    return _event((kind, level, title), rollout, ramp, why, now)


def start_event(rollout: Rollout, now: datetime) -> dict[str, Any]:
    """Return the event of a rollout that begins."""
    return _event(_STARTED, rollout, rollout.ramp, rollout.reason or f"deployed by {rollout.started_by}", now)


def _event(what: tuple[EventKind, Level, str], rollout: Rollout, ramp: Ramp, why: str, now: datetime) -> dict[str, Any]:
    kind, level, title = what
    names = ("rollout_id", "old_version", "new_version")
    details = {**{name: getattr(rollout, name) for name in names}, "kind": rollout.kind}
    details |= {"stage": ramp.stage, "share": ramp.share}
    title = title.format(old=rollout.old_version, new=rollout.new_version, share=100 * ramp.share)
    at, tool = now.astimezone(UTC).isoformat(), rollout.tool_name
    return Event(kind, level, tool, rollout.session_id, f"{tool}: {title}", (why,), at, details).to_dict()
