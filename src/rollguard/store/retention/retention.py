"""Retention: raw executions are kept for some days and then removed, in small steps. Rollups and history stay.

On SQLite rows are deleted. On PostgreSQL the partitions of whole weeks are dropped; rows in other partitions are
deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import InvalidSetting
from rollguard.model.log import logger_of
from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime
from rollguard.store.monitoring.sessions import Sessions
from rollguard.store.retention.partitions import DEFAULT, Partitions
from rollguard.store.retention.raw_reads import TimeRange, raw_reads_of, removable_before
from rollguard.store.rollups.refresh import refresh_if_due
from rollguard.store.schema import execution_keys as k
from rollguard.store.schema import rollup_state
from rollguard.store.schema import tool_executions as t

logger = logger_of(__name__)

STEP = 1_000  # rows removed by one transaction: some milliseconds
STEPS = 200  # transactions of one call, so that a cycle of the loop stays short
FOR_EVER = 0


@dataclass(frozen=True, slots=True)
class Tidied:
    """What one call of `Retention.tidy` did.

    Attributes:
        rows: how many executions it removed one by one.
        finished: False if there was more to remove than one call removes; the next call goes on.
        made: the partitions it created (PostgreSQL).
        dropped: the partitions it dropped, with all their executions (PostgreSQL).
    """

    rows: int = 0
    finished: bool = True
    made: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class Retention:
    """Removes executions that are older than `days` and that no count needs.

    These rows stay, however old they are:

    - rows that are not counted in the rollups yet;
    - rows that an active session reads: its baseline until its counts are stored, and the minutes that its windows
      begin and end in. So no count of an active session changes;
    - on SQLite the row with the highest id, because the database would give that id again.

    A window may begin or end in a minute whose raw rows are removed. Then that part of the minute counts as empty.
    This happens to the report of a session that ended long ago, and to a session that starts so late that its
    windows reach back past the stored rows: its baseline then begins with the next whole minute. An investigation
    reads the failures that are still stored.

    On PostgreSQL a week is dropped when its last day is old enough, so a row may stay up to a week longer. A week
    stays whole while any of its rows is needed.

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
        self._sessions = Sessions(database)
        self._partitions = Partitions(database) if database.dialect == "postgresql" else None

    def tidy(self, now: datetime, *, steps: int = STEPS) -> Tidied:
        """Create partitions ahead, and remove executions that are old at `now` in at most `steps` steps.

        Each step is a short transaction of its own, so writers can write between two steps. The next call removes the
        rest.

        Raises:
            StoreUnavailable: the database cannot be reached or written. Earlier steps stay done.
        """
        cutoff = None if self.days == FOR_EVER else now.astimezone(UTC) - timedelta(days=self.days)
        if self._partitions is not None:
            return self._tidy_partitions(self._partitions, now, cutoff, steps)
        if cutoff is None:
            return Tidied()
        rows, left = self._remove_rows("tool_executions", cutoff, steps)
        return Tidied(rows, finished=left > 0)

    def _tidy_partitions(self, partitions: Partitions, now: datetime, cutoff: datetime | None, steps: int) -> Tidied:
        created = partitions.create_ahead(now)
        if cutoff is None:
            return Tidied(made=tuple(created))
        refresh_if_due(self._database, 1)  # while the executions of the requests are still stored
        dropped = partitions.drop_before(cutoff, self._kept())
        rows, left = 0, steps
        for table in partitions.row_by_row():
            removed, left = self._remove_rows(table, cutoff, left)
            rows += removed
        bounded = partitions.bounded()
        oldest = bounded[0].start if bounded else cutoff
        if oldest is not None:
            left = self._forget_keys(oldest, left)
        return Tidied(rows, finished=left > 0, made=tuple(created), dropped=tuple(dropped))

    def _kept(self) -> Iterator[tuple[str, TimeRange]]:
        for session in self._sessions.active():
            yield from ((session.tool_name, times) for times in raw_reads_of(session))

    # --- row by row ------------------------------------------------------------------------------------------------

    def _remove_rows(self, table: str, cutoff: datetime, steps: int) -> tuple[int, int]:
        """Remove old rows of a table; return (rows removed, steps left), 0 steps if there may be more."""
        with self._database.read() as connection:
            tools = list(connection.scalars(_tools_before(table), {"cutoff": cutoff}))
        if tools and self._database.dialect == "sqlite":
            refresh_if_due(self._database, 1)  # a small store may never have had enough rows for a refresh
        rows, chunks = 0, self._chunks(table, tools, cutoff)
        while steps > 0:
            ids = next(chunks, None)
            if ids is None:
                break
            rows += self._remove(table, ids)
            steps -= 1
        return rows, steps

    def _chunks(self, table: str, tools: list[str], cutoff: datetime) -> Iterator[list[int]]:
        """Return the ids of the rows that may be removed, a list for each step. It finds them without a lock."""
        for tool in tools:
            kept = [times for session in self._sessions.active(tool) for times in raw_reads_of(session)]
            for start, end in removable_before(cutoff, kept):
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
            leaf = sa.table(table, sa.column("id"), sa.column("execution_id"))
            rows = sa.delete(leaf).where(leaf.c.id.in_(ids))
            if self._partitions is None:
                removed = connection.execute(rows).rowcount
            else:
                keys = connection.scalars(rows.returning(leaf.c.execution_id)).all()
                connection.execute(sa.delete(k).where(k.c.execution_id.in_([key for key in keys if key is not None])))
                removed = len(keys)
        if self._database.dialect == "sqlite":
            # Waiting writers try the lock only now and then; without a pause as long they might never get it.
            time.sleep(min(time.monotonic() - began, 0.25))
        return removed

    def _forget_keys(self, before: datetime, steps: int) -> int:
        """Delete the ids of dropped rows; return the steps left, 0 if there may be more."""
        while steps > 0:
            steps -= 1
            with self._database.write(durable=False) as connection:
                if connection.execute(_FORGET, {"before": before}).rowcount < STEP:
                    break
        return steps


def _tools(table: str) -> str:
    """Return the CTE `tools(tool_name)` of all tools; it reads one index entry for each."""
    return f"""
WITH RECURSIVE tools(tool_name) AS (
    SELECT MIN(tool_name) FROM {table}
    UNION ALL
    SELECT (SELECT MIN(x.tool_name) FROM {table} x WHERE x.tool_name > tools.tool_name)
    FROM tools WHERE tools.tool_name IS NOT NULL
)"""


def _tools_before(table: str) -> sa.TextClause:
    """Return the query of the tools with an execution before `:cutoff`."""
    return sa.text(f"""{_tools(table)}
SELECT tool_name FROM tools
WHERE EXISTS (SELECT 1 FROM {table} x WHERE x.tool_name = tools.tool_name AND x.executed_at < :cutoff)
ORDER BY 1""").bindparams(sa.bindparam("cutoff", type_=UTCDateTime))


# An id is deleted when no partition of its time is left and the default one has no row as old. One statement reads
# both, so that the id of a row that arrives just now stays.
_FORGET = sa.text(f"""{_tools(DEFAULT)},
oldest AS (
    SELECT MIN((SELECT MIN(x.executed_at) FROM {DEFAULT} x WHERE x.tool_name = tools.tool_name)) AS executed_at
    FROM tools
)
DELETE FROM execution_keys WHERE execution_id IN (
    SELECT execution_id FROM execution_keys
    WHERE executed_at < LEAST(:before, (SELECT executed_at FROM oldest))
    ORDER BY executed_at LIMIT {STEP}
)""").bindparams(sa.bindparam("before", type_=UTCDateTime))


def _removable(connection: Connection, table: str, tool: str, start: datetime | None, end: datetime) -> list[int]:
    """Return the ids of a step's rows of a tool in [start, end), the oldest first, without those that must stay."""
    x = sa.table(table, sa.column("id"), sa.column("tool_name"), sa.column("executed_at", UTCDateTime))
    conditions: list[Any] = [x.c.tool_name == tool, x.c.executed_at < end]
    if start is not None:
        conditions.append(x.c.executed_at >= start)
    if connection.dialect.name == "sqlite":
        counted = sa.select(rollup_state.c.rolled_to).scalar_subquery()
        highest = sa.select(sa.func.max(t.c.id)).scalar_subquery()
        conditions += [x.c.id <= counted, x.c.id < highest]
    return list(connection.scalars(sa.select(x.c.id).where(*conditions).order_by(x.c.executed_at).limit(STEP)))
