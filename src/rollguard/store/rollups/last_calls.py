"""When tools were last called, and how often in each hour: what a silence is found by."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import tool_execution_rollups as r

Hours = dict[datetime, int]  # when an hour begins: the calls in it

_LAST = "(SELECT MAX(x.executed_at) FROM tool_executions x WHERE x.tool_name = n.value)"
_LAST_CALLS = {
    "sqlite": f"SELECT n.value AS name, {_LAST} AS last FROM json_each(:names) n",
    "postgresql": f"SELECT n.value AS name, {_LAST} AS last FROM json_array_elements_text(CAST(:names AS json)) n",
}
_HOURS = (
    sa.select(r.c.tool_name, r.c.start_at, sa.func.sum(r.c.executions).label("calls"))
    .where(r.c.width == 3600, r.c.tool_name.in_(sa.bindparam("names", expanding=True)))
    .where(r.c.start_at >= sa.bindparam("start", type_=UTCDateTime))
    .group_by(r.c.tool_name, r.c.start_at)
)
_ALL_HOURS = (
    sa.select(r.c.start_at, sa.func.sum(r.c.executions).label("calls"))
    .where(r.c.width == 3600, r.c.tool_name.in_(sa.bindparam("names", expanding=True)))
    .where(r.c.start_at >= sa.bindparam("start", type_=UTCDateTime))
    .group_by(r.c.start_at)
)


class LastCalls:
    """Reads them for many tools by one statement each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = sa.text(_LAST_CALLS[database.dialect]).columns(sa.column("name"), sa.column("last", UTCDateTime))

    def of(self, tool_names: Sequence[str]) -> dict[str, datetime]:
        """Return when each tool was last called, as far as executions are stored."""
        with self._database.read() as connection:
            rows = connection.execute(self._last, {"names": json.dumps(list(tool_names))})
            return {row.name: row.last.astimezone(UTC) for row in rows if row.last is not None}

    def by_hour(self, tool_names: Sequence[str], start: datetime) -> dict[str, Hours]:
        """Return the calls of tools in each hour from the hour of `start` on, as far as they are in the rollups."""
        found: defaultdict[str, Hours] = defaultdict(dict)
        first = start.replace(minute=0, second=0, microsecond=0)
        with self._database.read() as connection:
            for name, hour, calls in connection.execute(_HOURS, {"names": list(tool_names), "start": first}):
                found[name][hour] = int(calls)
        return dict(found)

    def of_all(self, tool_names: Sequence[str], start: datetime) -> Hours:
        """Return the calls of these tools together in each hour from the hour of `start` on."""
        first = start.replace(minute=0, second=0, microsecond=0)
        with self._database.read() as connection:
            rows = connection.execute(_ALL_HOURS, {"names": list(tool_names), "start": first})
            return {hour: int(calls) for hour, calls in rows}
