"""The units of a rollout that are not counted yet, as the database knows them: in the order drawn.

Each unit that was drawn is counted, also one whose calls are neither successes nor failures: it has not failed. Without
those, the share of the new version among the counted units would be another than the one drawn by, and a version of
which more calls are such ones would be called worse, however few fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.judge import Unit
from rollguard.judge.hangs import UNCOUNTED
from rollguard.model.rollout import Rollout
from rollguard.model.split import Arm
from rollguard.store.schema import calls_in_flight as f
from rollguard.store.schema import tool_executions as e

MOST = 20_000  # executions that are read at once; more if so many say nothing yet

Counts = Callable[[str | None, float | None], bool]
"""Whether a failure, by its type and its duration, counts as one; otherwise its unit has not failed by it."""

_earlier = e.alias("earlier")
_ROLLOUT: sa.BindParameter[Any] = sa.bindparam("rollout_id")
_SKEW = timedelta(minutes=5)  # by which the clock of who draws may be behind that of who began the rollout
_TOOL: sa.BindParameter[Any] = sa.bindparam("tool_name")
_SINCE: sa.BindParameter[Any] = sa.bindparam("since", type_=e.c.executed_at.type)
# After a restored backup a rollout may have the number of one whose calls arrive still.
_OF_IT = sa.and_(e.c.rollout_id == _ROLLOUT, e.c.tool_name == _TOOL, e.c.executed_at >= _SINCE)
_CALLS = (
    sa.select(e.c.id, e.c.executed_at, e.c.duration_ms, e.c.success, e.c.error_type, e.c.request_id, e.c.stage, e.c.arm)
    .where(_OF_IT)
    .order_by(e.c.executed_at, e.c.id)
)
_FLIGHTS = sa.select(f.c.began_at, f.c.request_id, f.c.stage, f.c.arm).where(
    f.c.rollout_id == _ROLLOUT, f.c.tool_name == _TOOL, f.c.began_at >= _SINCE
)
_LAST = 2**63 - 1  # after every row of its moment


class Drawn(NamedTuple):
    """Units in the order drawn.

    Attributes:
        units: the units.
        places: for each, when it was drawn, and the row of its first call; it is counted up to there.
        now: the moment at which their outcomes are known.
        whole: whether these are all.
    """

    units: list[Unit]
    places: list[tuple[datetime, int]]
    now: datetime
    whole: bool


class _Open:
    """A unit that is being put together from its calls."""

    def __init__(self, at: datetime, row_id: int, stage: int, arm: str, *, request: bool) -> None:
        self.at, self.row_id, self.stage, self.arm, self.request = at, row_id, stage, arm, request
        self.ends: list[tuple[datetime, bool]] = []


def units_of(
    connection: Connection,
    rollout: Rollout,
    *,
    until: datetime,
    now: datetime,
    counts: Counts,
    most: int = MOST,
) -> Drawn:
    """Return the units after those that are counted, drawn at `until` or before. See `Rollouts.counted`.

    Args:
        most: how many executions are read.
    """
    which = {"rollout_id": rollout.rollout_id, "tool_name": rollout.tool_name, "since": _since(rollout)}
    rows = connection.execute(_after(rollout, now).limit(most), which).all()
    whole = len(rows) < most
    if not whole:  # what comes after these is not known yet
        now = until = min(until, rows[-1].executed_at - timedelta(microseconds=1))
    units = _put_together(rows, counts)
    for flight in connection.execute(_in_flight(rollout), which):
        _add_flight(units, flight)
    shares, kept = rollout.ramp.plan.shares, []
    for unit in sorted(units.values(), key=lambda one: (one.at, one.row_id)):
        if unit.at <= until and unit.stage < len(shares):
            kept.append(unit)
    made = [Unit(u.at, shares[u.stage], u.arm == Arm.NEW, tuple(sorted(u.ends)), request=u.request) for u in kept]
    return Drawn(made, [(unit.at, unit.row_id) for unit in kept], now, whole)


def _after(rollout: Rollout, now: datetime) -> sa.Select[Any]:
    """Return the query of the calls after the counted units, without later calls of counted requests."""
    query = _CALLS.where(e.c.executed_at <= now)
    ended = rollout.ramp.ended_at
    query = query if ended is None else query.where(e.c.executed_at <= ended)
    if rollout.counted_until is None:
        return query
    place = sa.or_(
        e.c.executed_at > rollout.counted_until,
        sa.and_(e.c.executed_at == rollout.counted_until, e.c.id > rollout.counted_id),
    )
    return query.where(place, _not_counted(rollout, e.c.request_id))


def _in_flight(rollout: Rollout) -> sa.Select[Any]:
    """Return the query of the calls that have not ended, without those of counted units."""
    if rollout.counted_until is None:
        return _FLIGHTS
    return _FLIGHTS.where(f.c.began_at > rollout.counted_until, _not_counted(rollout, f.c.request_id))


def _not_counted(rollout: Rollout, request_id: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a call belongs to no request that is counted."""
    counted_before = sa.or_(
        _earlier.c.executed_at < rollout.counted_until,
        sa.and_(_earlier.c.executed_at == rollout.counted_until, _earlier.c.id <= rollout.counted_id),
    )
    same = sa.and_(
        _earlier.c.tool_name == rollout.tool_name,
        _earlier.c.request_id == request_id,
        _earlier.c.rollout_id == rollout.rollout_id,
        _earlier.c.executed_at >= _since(rollout),
    )
    return sa.or_(request_id.is_(None), ~sa.exists().where(same, counted_before))


def _since(rollout: Rollout) -> datetime:
    return rollout.ramp.started_at - _SKEW


def _put_together(rows: Iterable[Row[Any]], counts: Counts) -> dict[Any, _Open]:
    units: dict[Any, _Open] = {}
    for row in rows:
        key = row.id if row.request_id is None else row.request_id
        unit = units.get(key)
        if unit is None:
            made_for = row.request_id is not None
            unit = units[key] = _Open(row.executed_at, row.id, row.stage, row.arm, request=made_for)
        ended = row.executed_at + timedelta(milliseconds=min(row.duration_ms or 0.0, 1e12))
        if row.success or (row.error_type not in UNCOUNTED and counts(row.error_type, row.duration_ms)):
            unit.ends.append((ended, row.success))
        elif not unit.ends:  # it leaves what an earlier call of its request ended with
            unit.ends.append((ended, True))
    return units


def _add_flight(units: dict[Any, _Open], flight: Row[Any]) -> None:
    """Add a call that has not ended, as a unit without an outcome, unless its unit is known already."""
    recorded = any(unit.at == flight.began_at and unit.arm == flight.arm for unit in units.values())
    if recorded or (flight.request_id is not None and flight.request_id in units):
        return
    key = ("in flight", flight.began_at, flight.arm) if flight.request_id is None else flight.request_id
    made_for = flight.request_id is not None
    units[key] = _Open(flight.began_at, _LAST, flight.stage, flight.arm, request=made_for)
