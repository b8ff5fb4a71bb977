"""Keep what was found out about why tools fail, and say why a tool is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from rollguard.store.database.engine import Database
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import deployment_rollbacks as r
from rollguard.store.schema import investigation_reports as i


class Investigations:
    """The table `investigation_reports`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, report: Mapping[str, Any], created_at: datetime) -> int:
        """Keep a report; see `rollguard.investigate.Report.to_dict`. Return its number."""
        first = report["causes"][0]
        values = {
            "tool_name": report["tool_name"],
            "version_number": report["version_number"],
            "created_at": created_at,
            "calls": report["calls"],
            "failures": report["failures"],
            "cause_kind": first["kind"],
            "cause": first["predicate"],
            "report": dict(report),
        }
        with self._database.write() as connection:
            return int(connection.execute(sa.insert(i).values(values).returning(i.c.report_id)).scalar_one())

    def recent(self, tool_name: str, limit: int = 10) -> list[dict[str, Any]]:
        """Return the latest reports of a tool, newest first, each with its number as `report_id`."""
        wanted = (
            sa.select(i.c.report_id, i.c.report)
            .where(i.c.tool_name == tool_name)
            .order_by(i.c.report_id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [{"report_id": row[0], **(row[1] or {})} for row in connection.execute(wanted)]

    def monitored(self) -> set[str]:
        """Return the tools with an active session."""
        return self._names(sa.select(m.c.tool_name).where(m.c.status == "active"))

    def capped(self, since: datetime) -> set[str]:
        """Return the tools whose rollback was withheld since then, because there were too many in a day."""
        return self._names(sa.select(r.c.tool_name).where(r.c.state == "capped", r.c.rollback_time >= since))

    def outside(self, since: datetime) -> set[str]:
        """Return the tools whose latest report, made since then, names a cause outside of them."""
        latest = sa.select(sa.func.max(i.c.report_id)).where(i.c.created_at >= since).group_by(i.c.tool_name)
        return self._names(sa.select(i.c.tool_name).where(i.c.report_id.in_(latest), i.c.cause_kind == "outside"))

    def _names(self, wanted: sa.Select[tuple[str]]) -> set[str]:
        with self._database.read() as connection:
            return set(connection.scalars(wanted))
