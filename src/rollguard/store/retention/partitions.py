"""PostgreSQL: `tool_executions` in partitions of a week, created ahead and dropped when they are old.

    before      all rows from before the table was partitioned, up to the end of that week
    wYYYYMMDD   the week that begins on that Monday, 00:00 UTC
    default     the rows that belong to none of the others, so that no insert ever fails

Creating and dropping need locks that a long reading transaction may hold up. Rollguard waits for them only briefly,
because everyone else waits behind a process that waits for such a lock. The next call tries again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import StoreBusy, StoreConflict
from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime
from rollguard.store.retention.raw_reads import TimeRange
from rollguard.store.schema import tool_executions

WEEK = timedelta(days=7)
AHEAD = 2  # weeks whose partitions are created before they begin
MOVABLE = 1_000  # rows that are moved out of the default partition: some milliseconds
DEFAULT = "tool_executions_default"
BEFORE = "tool_executions_before"
_WEEK = "tool_executions_w"
_NAMES = ", ".join(column.name for column in tool_executions.columns)
_TRY_LOCK = """
SELECT set_config('lock_timeout', '100ms', true), set_config('statement_timeout', '2s', true),
       pg_try_advisory_xact_lock(hashtextextended('rollguard:partitions', 0)) AS alone"""
_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'tool_executions'::regclass ORDER BY 1"""
_END_OF_BEFORE = """
SELECT substring(pg_get_expr(relpartbound, oid) FROM 'TO \\(''(.*)''\\)')::timestamptz
FROM pg_class WHERE oid = 'tool_executions_before'::regclass"""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition with a beginning and an end: [start, end). `start` is None for what begins with the first row."""

    name: str
    start: datetime | None
    end: datetime


class Partitions:
    """The partitions of `tool_executions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def row_by_row(self) -> list[str]:
        """Return the partitions with rows of many weeks. Their old rows are deleted one by one."""
        with self._database.read() as connection:
            return [name for name in _names(connection) if name in (DEFAULT, BEFORE)]

    def bounded(self) -> list[Partition]:
        """Return the partitions that can be dropped, the oldest first."""
        with self._database.read() as connection:
            return _bounded(connection)

    def create_ahead(self, now: datetime) -> list[str]:
        """Create the missing partitions of this week and the next ones.

        Rows of such a week in the default partition, from a clock that is ahead, are moved. A week with more than
        `MOVABLE` rows there gets no partition: no loop ran for long, and moving the rows would take too long.

        Returns:
            The names of the partitions that were created.
        """
        created = []
        with self._database.read() as connection:
            missing = _missing(connection, now)
        for partition in missing:
            try:
                with self._database.write() as connection:
                    alone = connection.execute(sa.text(_TRY_LOCK)).one().alone
                    if alone and partition in _missing(connection, now):
                        _create(connection, partition)
                        created.append(partition.name)
            except (StoreBusy, StoreConflict):  # a conflict is with a row of the week that arrived just now
                break  # the next call tries again; until then the default partition takes the rows
        return created

    def drop_before(self, cutoff: datetime, kept: Iterable[tuple[str, TimeRange]]) -> list[str]:
        """Drop the partitions that end before `cutoff` and have no row in the `kept` time ranges of a tool.

        Returns:
            The names of the partitions that were dropped.
        """
        old = [partition for partition in self.bounded() if partition.end <= cutoff]
        kept, dropped = list(kept) if old else [], []
        for partition in old:
            try:
                with self._database.write() as connection:
                    if not connection.execute(sa.text(_TRY_LOCK)).one().alone:
                        break  # another process does it
                    if partition.name not in _names(connection):  # another process has done it
                        continue
                    if any(_holds(connection, partition, tool, times) for tool, times in kept):
                        continue
                    connection.execute(sa.text(f"DROP TABLE {partition.name}"))
                    dropped.append(partition.name)
            except StoreBusy:
                break
        return dropped


def _names(connection: Connection) -> list[str]:
    return list(connection.scalars(sa.text(_PARTITIONS)))


def _bounded(connection: Connection) -> list[Partition]:
    names = _names(connection)
    found = [_week(datetime.strptime(name, f"{_WEEK}%Y%m%d").replace(tzinfo=UTC)) for name in names if _WEEK in name]
    if BEFORE in names:
        end = connection.execute(sa.text(_END_OF_BEFORE)).scalar_one()
        found.insert(0, Partition(BEFORE, None, end.astimezone(UTC)))
    return found


def _week(moment: datetime) -> Partition:
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = day - timedelta(days=day.weekday())
    return Partition(f"{_WEEK}{monday:%Y%m%d}", monday, monday + WEEK)


def _missing(connection: Connection, now: datetime) -> list[Partition]:
    taken = _bounded(connection)
    wanted = [_week(now + number * WEEK) for number in range(AHEAD + 1)]
    free = [w for w in wanted if not any((t.start is None or t.start < w.end) and w.end <= t.end for t in taken)]
    return [w for w in free if w.start and _movable(connection, w.start, w.end) <= MOVABLE]


def _create(connection: Connection, week: Partition) -> None:
    """Create a table, move the rows and attach it. Writers wait some milliseconds.

    Without the lock a writer could choose the default partition before the week has a partition, and would then be
    refused there.
    """
    connection.execute(sa.text(f"CREATE TABLE {week.name} (LIKE tool_executions INCLUDING ALL)"))
    connection.execute(sa.text("LOCK TABLE tool_executions IN SHARE MODE"))
    move = sa.text(f"""
WITH moved AS (DELETE FROM {DEFAULT} WHERE executed_at >= :start AND executed_at < :end RETURNING {_NAMES})
INSERT INTO {week.name} ({_NAMES}) SELECT {_NAMES} FROM moved""")
    connection.execute(move.bindparams(*_times(week.start or week.end, week.end)))
    connection.execute(
        sa.text(
            f"ALTER TABLE tool_executions ATTACH PARTITION {week.name} "
            f"FOR VALUES FROM ('{week.start:%Y-%m-%d}T00\\:00Z') TO ('{week.end:%Y-%m-%d}T00\\:00Z')"
        )
    )


def _holds(connection: Connection, partition: Partition, tool: str, times: TimeRange) -> bool:
    start, end = times
    if end <= start or end <= (partition.start or start) or start >= partition.end:
        return False
    return _exists(connection, partition.name, "tool_name = :tool", start, end, tool=tool)


def _movable(connection: Connection, start: datetime, end: datetime) -> int:
    """Count the rows of a time in the default partition, to `MOVABLE` + 1 at most."""
    query = sa.text(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM {DEFAULT} WHERE executed_at >= :start AND executed_at < :end "
        f"LIMIT {MOVABLE + 1}) AS few"
    )
    return int(connection.execute(query.bindparams(*_times(start, end))).scalar_one())


def _times(start: datetime, end: datetime) -> tuple[sa.BindParameter[datetime], sa.BindParameter[datetime]]:
    return sa.bindparam("start", start, UTCDateTime), sa.bindparam("end", end, UTCDateTime)


def _exists(connection: Connection, table: str, condition: str, start: datetime, end: datetime, **values: str) -> bool:
    query = sa.text(
        f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {condition} AND executed_at >= :start AND executed_at < :end)"
    )
    return bool(connection.execute(query.bindparams(*_times(start, end)), values).scalar_one())
