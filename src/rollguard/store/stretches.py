"""Which executions a session's two windows hold, said once for the rollups and for the raw rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from rollguard.store.records import Session
from rollguard.store.schema import tool_executions as t


@dataclass(frozen=True, slots=True)
class Stretch:
    """Executions of one tool in [start, end): all of them, `only` those of a version, or all `but` those of one.

    Version 0 stands for executions that name none.
    """

    tool_name: str
    start: datetime
    end: datetime
    only: int | None = None
    but: int | None = None


def baseline_of(session: Session) -> list[Stretch]:
    """What was before the deployment, but for calls of the watched version itself whose clock was behind."""
    name, version = session.tool_name, session.version_number
    start, end = session.baseline_start, session.deployment_time
    if version is None:
        return [Stretch(name, start, end)]
    stretches = [Stretch(name, start, end, but=version)]
    if session.live_before is not None:  # what it did in an earlier life was before this deployment too
        stretches.append(Stretch(name, start, min(session.live_before, end), only=version))
    return stretches


def current_of(session: Session, until: datetime) -> list[Stretch]:
    """What happened since the deployment, up to and including `until`."""
    name, version, deployed = session.tool_name, session.version_number, session.deployment_time
    end = until + timedelta(microseconds=1)  # times are whole microseconds
    if version is None:
        return [Stretch(name, deployed, end)]
    # A clock may be behind, but not by more than the baseline, and not back into the version's earlier life.
    earliest = min(deployed, max(session.baseline_start, session.live_before or session.baseline_start))
    return [Stretch(name, earliest, end, only=version), Stretch(name, deployed, end, only=0)]


def restored_of(tool_name: str, version: int, restored_at: datetime, until: datetime) -> list[Stretch]:
    """Calls of a restored version since its rollback, up to and including `until`; those that name none count too."""
    end = until + timedelta(microseconds=1)
    return [Stretch(tool_name, restored_at, end, only=version), Stretch(tool_name, restored_at, end, only=0)]


def rows_in(stretches: Sequence[Stretch]) -> sa.ColumnElement[bool]:
    """The condition for a raw row to lie in one of the stretches."""
    version = sa.func.coalesce(t.c.version_number, 0)
    return sa.or_(
        *(
            sa.and_(
                t.c.tool_name == stretch.tool_name,
                t.c.executed_at >= stretch.start,
                t.c.executed_at < stretch.end,
                sa.true() if stretch.only is None else version == stretch.only,
                sa.true() if stretch.but is None else version != stretch.but,
            )
            for stretch in stretches
        )
    )
