"""Retention: raw executions are kept for some days and then removed, in small steps. Rollups and history stay."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import InvalidSetting
from rollguard.store.engine import Database
from rollguard.store.needed import free_before, needed_by
from rollguard.store.rollups import Rollups
from rollguard.store.schema import rollup_state
from rollguard.store.schema import tool_executions as t
from rollguard.store.sessions import Sessions
from rollguard.store.types import UTCDateTime

logger = logging.getLogger(__name__)

STEP = 1_000  # rows removed by one transaction: some milliseconds
STEPS = 200  # transactions of one call, so that a cycle of the loop stays short
FOR_EVER = 0


@dataclass(frozen=True, slots=True)
class Tidied:
    """What one call of `Retention.tidy` did.

    Attributes:
        rows: how many executions it removed one by one.
        finished: False where there was more to remove than one call removes; the next call goes on.
    """

    rows: int = 0
    finished: bool = True


class Retention:
    """Removes executions that are older than `days` and that nothing needs any more.

    What stays, however old it is:

    - what is not counted in the rollups yet;
    - what a session under watch reads raw: its baseline until its counts are kept, and the parts of a minute at the
      ends of its windows. So no count of a session under watch changes;
    - on SQLite the row with the highest id, since the database would give that id again.

    Where the raw rows of a minute are gone that a window begins or ends in, that part of the minute counts as empty.
    This happens to the report of a session that was closed long ago, and to a session started so late that its
    windows reach back past what is kept: its baseline then begins with the next whole minute. An investigation looks
    at the failures that are still there.

    Args:
        days: how long executions are kept, 1 to 3650; 0 is for ever.

    Raises:
        InvalidSetting: the number of days is out of its range.
    """

    def __init__(self, database: Database, days: int) -> None:
        if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= 3_650:
            raise InvalidSetting("retention_days", f"{days!r} is not a number of days from 1 to 3650, or 0: for ever")
        self.days = days
        self._database = database
        self._rollups = Rollups(database)
        self._sessions = Sessions(database)

    def tidy(self, now: datetime, *, steps: int = STEPS) -> Tidied:
        """Remove executions that are old at `now`, in at most so many steps. Call it again and again.

        Each step is a short transaction of its own, and writers have their turn between two of them.

        Raises:
            StoreUnavailable: the database cannot be reached or written. What was removed before is gone.
        """
        if self.days == FOR_EVER:
            return Tidied()
        return self._remove_rows("tool_executions", now.astimezone(UTC) - timedelta(days=self.days), steps)

    # --- row by row ------------------------------------------------------------------------------------------------

    def _remove_rows(self, table: str, cutoff: datetime, steps: int) -> Tidied:
        with self._database.read() as connection:
            tools = list(connection.scalars(_tools_before(table), {"cutoff": cutoff}))
        if not tools:
            return Tidied()
        if self._database.dialect == "sqlite":
            self._rollups.fold_if_worth_it(1)  # a small store may never have had enough of them to be folded
        rows = 0
        chunks = self._chunks(table, tools, cutoff)
        for _ in range(steps):
            ids = next(chunks, None)
            if ids is None:
                return Tidied(rows)
            rows += self._remove(table, ids)
        return Tidied(rows, finished=False)

    def _chunks(self, table: str, tools: list[str], cutoff: datetime) -> Iterator[list[int]]:
        """The ids of the rows that may be removed, a step's at a time. They are found without a lock."""
        for tool in tools:
            needed = [interval for session in self._sessions.active(tool) for interval in needed_by(session)]
            for start, end in free_before(cutoff, needed):
                while True:
                    with self._database.read() as connection:
                        ids = _removable(connection, table, tool, start, end)
                    if ids:
                        yield ids
                    if len(ids) < STEP:
                        break

    def _remove(self, table: str, ids: list[int]) -> int:
        began = time.monotonic()
        with self._database.write(durable=False) as connection:
            leaf = sa.table(table, sa.column("id"))
            removed = connection.execute(sa.delete(leaf).where(leaf.c.id.in_(ids))).rowcount
        if self._database.dialect == "sqlite":
            # Writers who wait for the lock ask for it now and then; without a rest as long they might never get it.
            time.sleep(min(time.monotonic() - began, 0.25))
        return removed


def _tools_before(table: str) -> sa.TextClause:
    """The tools with an execution before `:cutoff`, by two looks at the index for each, whatever their number."""
    return sa.text(f"""
WITH RECURSIVE tools(tool_name) AS (
    SELECT MIN(tool_name) FROM {table}
    UNION ALL
    SELECT (SELECT MIN(x.tool_name) FROM {table} x WHERE x.tool_name > tools.tool_name)
    FROM tools WHERE tools.tool_name IS NOT NULL
)
SELECT tool_name FROM tools
WHERE EXISTS (SELECT 1 FROM {table} x WHERE x.tool_name = tools.tool_name AND x.executed_at < :cutoff)
ORDER BY 1""").bindparams(sa.bindparam("cutoff", type_=UTCDateTime))


def _removable(connection: Connection, table: str, tool: str, start: datetime | None, end: datetime) -> list[int]:
    """The ids of a step's rows of a tool in [start, end), the oldest first, without those that must stay."""
    x = sa.table(table, sa.column("id"), sa.column("tool_name"), sa.column("executed_at", UTCDateTime))
    conditions: list[Any] = [x.c.tool_name == tool, x.c.executed_at < end]
    if start is not None:
        conditions.append(x.c.executed_at >= start)
    if connection.dialect.name == "sqlite":
        counted = sa.select(rollup_state.c.rolled_to).scalar_subquery()
        highest = sa.select(sa.func.max(t.c.id)).scalar_subquery()
        conditions += [x.c.id <= counted, x.c.id < highest]
    return list(connection.scalars(sa.select(x.c.id).where(*conditions).order_by(x.c.executed_at).limit(STEP)))
