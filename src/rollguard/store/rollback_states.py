"""The state machine of a rollback: each transition is one conditional UPDATE. docs/rollback.md draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import releases


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, possible only from the states it leaves.

    Attributes:
        name: its name, here and in docs/rollback.md.
        leaves: the states it may leave.
        enters: the state it enters.
    """

    name: str
    leaves: tuple[str, ...]
    enters: str


OPEN = ("claimed", "restored")  # decided and not over: a unique index allows one for each tool
HELD = ("failed", "observed", "capped")  # decided and not carried out: nothing was changed

BEGINNINGS = ("claimed", *HELD)  # the states that a row may begin in
CLAIM_AGAIN = Transition("claim again", HELD, "claimed")
ATTEMPT = Transition("attempt", ("claimed",), "claimed")
POSTPONE = Transition("postpone", ("claimed",), "claimed")
RESTORE = Transition("restore", ("claimed",), "restored")
REPEAT = Transition("repeat", ("restored",), "claimed")
FINISH = Transition("finish", OPEN, "finished")
FAIL = Transition("fail", ("claimed",), "failed")
OVERTAKE = Transition("overtake", OPEN, "overtaken")
VERIFY = Transition("verify", ("finished",), "finished")
TRANSITIONS = (CLAIM_AGAIN, ATTEMPT, POSTPONE, RESTORE, REPEAT, FINISH, FAIL, OVERTAKE, VERIFY)


def move(
    connection: Connection,
    transition: Transition,
    rollback_id: int,
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> Row[Any] | None:
    """Make a transition of one rollback; return None if it is in no state that the transition leaves."""
    return connection.execute(
        sa.update(r)
        .where(r.c.rollback_id == rollback_id, r.c.state.in_(transition.leaves), *conditions)
        .values(state=transition.enters, **values)
        .returning(r)
    ).one_or_none()


def overtake(connection: Connection, whose: sa.ColumnElement[bool], *, at: datetime, error: str) -> None:
    """Call off rollbacks that are decided and not over, because a person decided otherwise."""
    connection.execute(
        sa.update(r)
        .where(whose, r.c.state.in_(OVERTAKE.leaves))
        .values(state=OVERTAKE.enters, finished_at=at, next_attempt_at=None, error=error)
    )


def call_off(connection: Connection, session_ids: Sequence[int], *, at: datetime, error: str) -> None:
    """Call off the open rollbacks that these sessions decided; of a release, those of its other tools too."""
    decided = sa.and_(r.c.session_id.in_(session_ids), r.c.state.in_(OVERTAKE.leaves))
    as_one = connection.scalars(sa.select(r.c.release_id).where(decided, r.c.release_id.is_not(None))).all()
    overtake(connection, sa.or_(r.c.session_id.in_(session_ids), r.c.release_id.in_(as_one)), at=at, error=error)
    begun = sa.exists().where(r.c.release_id == releases.c.release_id, r.c.state == "finished")
    connection.execute(sa.update(releases).where(releases.c.release_id.in_(as_one), ~begun).values(state="live"))


def is_under_way(connection: Connection, tool_name: str, *, to: int | None = None) -> bool:
    """Return whether a rollback of the tool is decided and not over; with `to`, only one to that version."""
    under_way = sa.exists().where(r.c.tool_name == tool_name, r.c.state.in_(OPEN))
    if to is not None:
        under_way = under_way.where(r.c.to_version == to)
    return bool(connection.scalar(sa.select(under_way)))
