"""What all loops on a store did so far: counters, and what the tables already say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from rollguard.model.attempt import BEGIN, NOT_GOOD
from rollguard.store.database.engine import Database
from rollguard.store.database.statements import insert_into
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import improvement_attempts as a
from rollguard.store.schema import improvement_events as e
from rollguard.store.schema import loop_statistics as s

COUNTED = ("cycles_completed", "maintenance_runs")
"""Counters. The other statistics are counts of rows, so they and the tables cannot disagree."""


class LoopStatistics:
    """The table `loop_statistics`, and counts of attempts and rollbacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, int]:
        """Return the statistics under the contract's names."""
        ended_badly = sa.and_(a.c.state.in_(NOT_GOOD), a.c.tries > 0)
        query = sa.select(
            *(sa.select(s.c.total).where(s.c.name == name).scalar_subquery().label(name) for name in COUNTED),
            _events(BEGIN).label("opportunities_detected"),
            _events("investigate").label("tools_analyzed"),
            _attempts(a.c.tries > 0).label("improvements_attempted"),
            _attempts(a.c.version_number.is_not(None)).label("improvements_deployed"),
            _attempts(ended_badly).label("improvements_failed"),
            _rollbacks().label("rollbacks_triggered"),
        )
        with self._database.read() as connection:
            row = connection.execute(query).one()._mapping
        return {name: int(row[name] or 0) for name in NAMES}

    def count(self, counts: Mapping[str, int], now: datetime) -> None:
        """Add to the counters."""
        with self._database.write(durable=False) as connection:
            for name, number in counts.items():
                added = insert_into(s, self._database.dialect).values(name=name, total=number, updated_at=now)
                raised = {"total": s.c.total + number, "updated_at": now}
                connection.execute(added.on_conflict_do_update(index_elements=["name"], set_=raised))

    def begin_if_due(self, name: str, every: timedelta, now: datetime) -> bool:
        """Count something that happens once in a while, and return whether it is due: for one of all loops."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, f"loop: {name}")
            last = connection.scalar(sa.select(s.c.updated_at).where(s.c.name == name))
            if last is not None and now - last < every:
                return False
            added = insert_into(s, self._database.dialect).values(name=name, total=1, updated_at=now)
            raised = {"total": s.c.total + 1, "updated_at": now}
            connection.execute(added.on_conflict_do_update(index_elements=["name"], set_=raised))
            return True


NAMES = (
    *("cycles_completed", "opportunities_detected", "improvements_attempted", "improvements_deployed"),
    *("improvements_failed", "rollbacks_triggered", "tools_analyzed", "maintenance_runs"),
)
"""The statistics, by the contract's names."""


def _events(name: str) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(e).where(e.c.event == name).scalar_subquery()


def _attempts(which: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(a).where(which).scalar_subquery()


def _rollbacks() -> sa.ScalarSelect[int]:
    automatic = sa.and_(r.c.state == "finished", r.c.rollback_type != "manual")
    return sa.select(sa.func.count()).select_from(r).where(automatic).scalar_subquery()
