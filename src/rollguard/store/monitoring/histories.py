"""The deployments of tools: when each version was live, what ended that, and what monitoring found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import RollbackType, Verdict
from rollguard.judge.baseline import History, Life, Watched
from rollguard.store.schema import deployment_health_checks as c
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import rollouts as o
from rollguard.store.schema import tool_deployments as d

_NAMES: sa.BindParameter[list[str]] = sa.bindparam("names", expanding=True)
_ENDED_IT = sa.and_(
    r.c.tool_name == d.c.tool_name,
    r.c.rollback_time == d.c.ended_at,
    r.c.from_version == d.c.version_number,
    r.c.state == "finished",
)
_WITH_ITS_RELEASE = sa.and_(  # for another tool's sake
    sa.func.coalesce(r.c.release_id, 0) > 0, r.c.session_id.is_(None), r.c.rollback_type != RollbackType.MANUAL
)
_BY_HAND = sa.and_(r.c.rollback_type == RollbackType.MANUAL, ~r.c.quarantines).label("by_hand")
_DEPLOYED = (
    sa.select(
        d.c.deployment_id,
        d.c.tool_name,
        d.c.version_number,
        d.c.deployed_at,
        d.c.ended_at,
        sa.and_(d.c.ended_by == "rollback", ~_WITH_ITS_RELEASE).label("rolled_back"),
        _BY_HAND,
    )
    .outerjoin(r, _ENDED_IT)
    .where(d.c.tool_name.in_(_NAMES))
)
_BESIDE = (  # a version that was rolled back while another one was live
    sa.select(
        sa.literal(0).label("deployment_id"),
        o.c.tool_name,
        o.c.new_version,
        o.c.started_at,
        o.c.ended_at,
        sa.true().label("rolled_back"),
        _BY_HAND,
    )
    .outerjoin(r, sa.and_(r.c.rollout_id == o.c.rollout_id, r.c.state == "finished"))
    .where(o.c.tool_name.in_(_NAMES), o.c.state == "rolled_back", o.c.kind == "canary")
)
_lives = sa.union_all(_DEPLOYED, _BESIDE).subquery()
_LIVES = sa.select(*list(_lives.c)[1:]).order_by(_lives.c.deployed_at, _lives.c.deployment_id)
_LAST_VERDICT = (
    sa.select(c.c.verdict)
    .where(c.c.session_id == m.c.session_id, c.c.verdict != str(Verdict.ERROR))
    .order_by(c.c.checked_at.desc(), c.c.check_id.desc())
    .limit(1)
    .scalar_subquery()
)
_WATCHED = (
    sa.select(
        m.c.tool_name,
        m.c.session_id,
        m.c.version_number,
        m.c.deployment_time,
        m.c.status,
        m.c.outcome,
        r.c.rollback_id,
        _LAST_VERDICT.label("verdict"),
    )
    .outerjoin(r, r.c.session_id == m.c.session_id)
    .where(m.c.tool_name.in_(_NAMES))
    .order_by(m.c.session_id)
)


def histories(connection: Connection, tool_names: Collection[str]) -> dict[str, History]:
    """Return the deployments of these tools, by two statements."""
    given = {"names": sorted(tool_names)}
    lives: dict[str, list[Life]] = defaultdict(list)
    for name, version, start, end, rolled_back, by_hand in connection.execute(_LIVES, given):
        if start is None:
            continue  # another program's time that cannot be read
        lives[name].append(Life(version, start, end, bool(rolled_back), bool(by_hand)))
    watched = _watched(connection, given)
    return {name: History(lives[name], watched[name]) for name in tool_names}


def regressed_versions(connection: Connection, tool_name: str) -> frozenset[int]:
    """Return the versions of a tool that were found regressed, and not undone by a rollback for it."""
    return History(watched=_watched(connection, {"names": [tool_name]})[tool_name]).bad_versions


def _watched(connection: Connection, given: dict[str, list[str]]) -> dict[str, list[Watched]]:
    watched: dict[str, list[Watched]] = defaultdict(list)
    for row in connection.execute(_WATCHED, given):
        if row.deployment_time is None:
            continue
        healthy = "healthy" in (row.outcome, row.verdict)
        bad = row.rollback_id is not None or "regressed" in (row.outcome, row.verdict)
        regressed = bad and not healthy and row.status != "rolled_back"
        watched[row.tool_name].append(
            Watched(row.session_id, row.version_number, row.deployment_time, healthy, regressed)
        )
    return watched
