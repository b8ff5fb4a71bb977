"""The changes of a rollout's state: each is one conditional UPDATE, inside a transaction that holds the tool's lock.

`rollguard.model.ramp` says which changes there are, docs/rollouts.md draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import ReleaseConflict
from rollguard.judge import Arms
from rollguard.model.confirming import Confirming
from rollguard.model.ramp import Ramp, State
from rollguard.model.rollout import CONFIRM, Rollout, change_event
from rollguard.store import outbox
from rollguard.store.schema import rollouts as o
from rollguard.store.versions.channel import notify

_OPEN = o.c.ended_at.is_(None)
_AS_STORED = (
    *("rollout_id", "tool_name", "kind", "session_id", "old_version", "new_version", "draw_key"),
    *("counted_until", "counted_id", "revision", "started_by", "reason", "ended_by", "ended_why"),
)


def rollout_of(row: Row[Any]) -> Rollout:
    """Return the rollout of a row."""
    arms = None if row.arms is None else Arms.from_dict(row.arms)
    ramp = (Confirming if row.kind == CONFIRM else Ramp).from_dict(row.ramp)
    return Rollout(**{name: getattr(row, name) for name in _AS_STORED}, ramp=ramp, arms=arms)


def columns_of(ramp: Ramp) -> dict[str, Any]:
    """Return where a rollout is as the columns of its row."""
    kept = ramp.to_dict()
    return {"state": str(ramp.state), "stage": ramp.stage, "share": ramp.share, "ramp": kept, "ended_at": ramp.ended_at}


def get(connection: Connection, rollout_id: int) -> Rollout | None:
    """Return one rollout; None if there is none with that number."""
    row = connection.execute(sa.select(o).where(o.c.rollout_id == rollout_id)).one_or_none()
    return None if row is None else rollout_of(row)


def open_of(connection: Connection, tool_name: str) -> Rollout | None:
    """Return the open rollout of a tool; None if one version serves alone."""
    row = connection.execute(sa.select(o).where(o.c.tool_name == tool_name, _OPEN)).one_or_none()
    return None if row is None else rollout_of(row)


def latest_arms(connection: Connection, session_id: int) -> Arms | None:
    """Return the counted units of the latest rollout of a session; None if it has none."""
    query = sa.select(o.c.arms).where(o.c.session_id == session_id).order_by(o.c.rollout_id.desc()).limit(1)
    kept = connection.scalar(query)
    return None if kept is None else Arms.from_dict(kept)


def move(
    connection: Connection, known: Rollout, ramp: Ramp, *, by: str, at: datetime, why: str | None = None
) -> Rollout | None:
    """Change the state of a rollout that is as it was read, and notify people if they need to know.

    Return None if somebody else changed it since.

    Args:
        by: who changes it.
        at: when.
        why: why it ends, if it does.
    """
    ends: dict[str, Any] = {"ended_by": by, "ended_why": why} if ramp.ended else {}
    if ramp.ended if known.kind == CONFIRM else ramp.state is State.PROMOTED:
        query = sa.select(o.c.arms).where(o.c.rollout_id == known.rollout_id).with_for_update()
        arms = connection.scalar(query)  # another process may have counted since
        if arms is not None:
            ends["arms"] = {**arms, "serving": False}
    row = connection.execute(
        sa.update(o)
        .where(o.c.rollout_id == known.rollout_id, o.c.revision == known.revision, _OPEN)
        .values(**columns_of(ramp), **ends, revision=known.revision + 1)
        .returning(o)
    ).one_or_none()
    if row is None:
        return None
    event = change_event(known, ramp, why or f"by {by}", at)
    if event is not None:
        outbox.add(connection, event, at)
    notify(connection, known.tool_name)
    return rollout_of(row)


def end_of_tool(connection: Connection, tool_name: str, *, at: datetime, by: str, why: str) -> None:
    """End the open rollout of a tool, if there is one, because something newer takes its place."""
    known = open_of(connection, tool_name)
    if known is not None:
        move(connection, known, known.ramp.ended_by(State.SUPERSEDED, at), by=by, at=at, why=why)


def end_of_sessions(
    connection: Connection, session_ids: Sequence[int], state: State, *, at: datetime, by: str, why: str
) -> None:
    """End the open rollouts that these sessions judged, because nobody judges them any more."""
    if not session_ids:
        return
    for row in connection.execute(sa.select(o).where(o.c.session_id.in_(session_ids), _OPEN)).all():
        known = rollout_of(row)
        move(connection, known, known.ramp.ended_by(state, at), by=by, at=at, why=why)


def under_way(rollout: Rollout) -> ReleaseConflict:
    """Return the error of a release that holds a tool under rollout."""
    return ReleaseConflict(
        f"{rollout.tool_name}: a rollout of version {rollout.new_version} is under way; promote or abort it, or "
        "release with replace=True, which is: rollguard release --replace"
    )
