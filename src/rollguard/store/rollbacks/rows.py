"""Rows of `deployment_rollbacks` as rollbacks, and their transitions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import RollbackRefused
from rollguard.model.rollback import Rollback
from rollguard.store import rollback_states
from rollguard.store.schema import deployment_rollbacks as r


def moved(
    connection: Connection, transition: rollback_states.Transition, rollback: Rollback, **values: Any
) -> Rollback:
    """Make a transition of a rollback; raise `RollbackRefused` if it is in no state that the transition leaves."""
    row = rollback_states.move(connection, transition, rollback.rollback_id, **values)
    if row is None:
        raise RollbackRefused(f"{name_of(rollback)} is already {rollback.state}")
    return rollback_of(row)


def name_of(rollback: Rollback) -> str:
    """Return what errors call a rollback."""
    return f"rollback {rollback.rollback_id} of {rollback.tool_name}"


def get(connection: Connection, rollback_id: int) -> Rollback:
    """Return one rollback."""
    return rollback_of(connection.execute(sa.select(r).where(r.c.rollback_id == rollback_id)).one())


def rollback_of(row: Row[Any]) -> Rollback:
    """Return the rollback of a row."""
    return Rollback(**{name: getattr(row, name) for name in Rollback.__dataclass_fields__})
