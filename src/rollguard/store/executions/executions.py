"""Write executions, once each, and count them in the two windows of a session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import InvalidInput
from rollguard.judge import Hangs, Window
from rollguard.model.execution import Columns, Execution, Failure, checked, columns_of
from rollguard.model.rollback import Unverified
from rollguard.model.session import Session
from rollguard.store.database.engine import Database
from rollguard.store.executions.bulk_insert import write_once
from rollguard.store.executions.complete import complete
from rollguard.store.executions.encoding import AT_ONCE, Encoding
from rollguard.store.executions.payloads import Payloads
from rollguard.store.rollups.by_minute import Minutes, Series
from rollguard.store.rollups.intervals import HOUR
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.refresh import REFRESH_THRESHOLD, refresh_after_writing, refresh_if_due
from rollguard.store.rollups.selection import Selection, baseline_of, current_of, restored_of, since


class _TakenBack(Exception):
    """Raised to roll a transaction back."""


class Executions(Encoding):
    """The table `tool_executions`."""

    def __init__(self, database: Database, payloads: Payloads) -> None:
        super().__init__(payloads)
        self._database = database
        self._rollups = Rollups(database)
        self._minutes = Minutes(database)
        self._since_refresh = 0  # executions that this process has written

    def write(self, executions: Iterable[Execution], *, durable: bool = False) -> int:
        """Write complete executions, all or none. One whose `execution_id` is already stored changes nothing.

        Args:
            durable: whether they survive a loss of power too (SQLite; PostgreSQL's server decides).

        Returns:
            Number of new executions.
        """
        rows = iter(executions)
        return self._write(
            (columns_of(some) for some in iter(lambda: list(islice(rows, AT_ONCE)), [])), durable=durable
        )

    def write_from(self, executions: Iterable[Mapping[str, Any]]) -> int:
        """Check and write executions given as mappings of their fields, all or none, like `write`.

        Raises:
            InvalidInput: a field is unknown, missing or invalid; nothing was written.
        """
        return self._write(self._completed(iter(executions)))

    def _completed(self, given: Iterator[Mapping[str, Any]]) -> Iterator[Columns]:
        number = 0
        while some := list(islice(given, AT_ONCE)):
            try:
                columns = complete(checked(some), self._payloads)
            except InvalidInput as error:
                error.number = number + (error.number or 0)
                raise
            number += len(some)
            yield columns

    def _write(self, parts: Iterator[Columns], *, durable: bool = False) -> int:
        first = next(parts, None)
        if first is None:
            return 0
        with self._database.write(durable=durable) as connection:
            return self._write_within(connection, chain((first,), parts))

    def write_within(self, connection: Connection, executions: Sequence[Execution]) -> int:
        """Write complete executions in the caller's transaction, like `write`."""
        parts = (executions[start : start + AT_ONCE] for start in range(0, len(executions), AT_ONCE))
        return self._write_within(connection, map(columns_of, parts)) if executions else 0

    def _write_within(self, connection: Connection, parts: Iterator[Columns]) -> int:
        new = write_once(connection, parts)
        self._since_refresh += new
        if self._since_refresh >= REFRESH_THRESHOLD:
            self._since_refresh = 0
            refresh_after_writing(connection)
        return new

    def try_writing(self) -> None:
        """Test whether the database takes executions: write one and roll it back.

        Raises:
            StoreError: the database takes none.
        """
        with contextlib.suppress(_TakenBack), self._database.write(durable=False) as connection:
            write_once(connection, iter([columns_of([self.row(tool_name="rollguard", success=True)])]))
            raise _TakenBack

    # --- counting --------------------------------------------------------------------------------------------------

    def refresh_rollups(self) -> None:
        """Refresh the rollups if enough executions wait. Changes no count; a check does it before it counts."""
        refresh_if_due(self._database)

    def windows(self, session: Session, until: datetime) -> tuple[Window, Window]:
        """Return (baseline, current) of a session, current up to and including `until`; see `windows_of`."""
        return self.windows_of([(session, until)])[0]

    def windows_of(self, sessions: Sequence[tuple[Session, datetime]]) -> list[tuple[Window, Window]]:
        """Return (baseline, current) of each session, current up to and including the time beside it.

        An execution with a version counts for that version, whatever its time. One without a version counts by its
        time. One at exactly the deployment's time is current. A stored baseline is not counted again.
        """
        asked: list[Sequence[Selection]] = []
        for session, until in sessions:
            asked += [() if session.baseline else baseline_of(session, until), current_of(session, until)]
        counted = self._rollups.count(asked)
        return [
            (session.baseline or counted[2 * number], counted[2 * number + 1])
            for number, (session, _until) in enumerate(sessions)
        ]

    def count(self, windows: Sequence[Sequence[Selection]]) -> list[Window]:
        """Count the executions of each window; a window is the sum of its selections."""
        return self._rollups.count(windows)

    def by_minute(self, windows: Sequence[Sequence[Selection]], *, durations: bool = False) -> list[Series]:
        """Count the executions of each window, minute by minute; see `Minutes.of`."""
        return self._minutes.of(windows, durations=durations)

    def by_hour(self, windows: Sequence[Sequence[Selection]], *, durations: bool = False) -> list[Series]:
        """Count the executions of each window, hour by hour; see `Minutes.of`."""
        return self._minutes.of(windows, durations=durations, step=HOUR)

    def totals(self, windows: Sequence[Sequence[Selection]]) -> list[Window]:
        """Count the executions of each window, without durations."""
        return self._minutes.totals(windows)

    def latest(
        self, session: Session, after: datetime, until: datetime, limit: int, *, hangs: Hangs | None = None
    ) -> list[tuple[datetime, bool, str | None]]:
        """Return (executed_at, success, error_type) of the session's latest current executions, oldest first.

        Only those in (after, until], and only the last of each request.

        Args:
            hangs: which calls that hung are failures; without it none is.
        """
        start = max(session.deployment_time, after)
        selections = since(session, start, until + timedelta(microseconds=1))
        clipped = [selection._replace(start=start) for selection in selections]  # a selection may begin before `start`
        return self._rollups.outcomes(clipped, limit, hangs)[::-1]

    def failures_in(self, selections: Sequence[Selection], limit: int) -> list[Failure]:
        """Return the latest counted failures of some selections whose rows are still stored."""
        return self._rollups.failures(selections, limit)

    def windows_after(self, rollbacks: Sequence[tuple[Unverified, datetime]]) -> list[tuple[Window, Window]]:
        """Return (baseline, calls of the restored version since) of each rollback, up to the time beside it."""
        asked: list[Sequence[Selection]] = []
        for unverified, until in rollbacks:
            session, rollback = unverified.session, unverified.rollback
            asked.append(() if session.baseline else baseline_of(session, session.last_end))
            asked.append(restored_of(session, rollback.to_version or 0, rollback.rollback_time, until))
        counted = self.count(asked)
        return [
            (unverified.session.baseline or counted[2 * number], counted[2 * number + 1])
            for number, (unverified, _until) in enumerate(rollbacks)
        ]

    def failures_before(
        self, session: Session, until: datetime, limit: int, *, within: float | None = None
    ) -> list[Failure]:
        """Return the latest failures of the baseline, read within so many seconds; see `Rollups.failures`."""
        return self._rollups.failures(baseline_of(session, until), limit, within=within)

    def failures_since(
        self, session: Session, until: datetime, limit: int, *, within: float | None = None
    ) -> list[Failure]:
        """Return the latest failures of the current window, read within so many seconds; see `Rollups.failures`."""
        return self._rollups.failures(current_of(session, until), limit, within=within)

    def tool_names(self, most: int | None = None) -> list[str]:
        """Return every tool that has an execution, or so many of them, by name; one index lookup each."""
        limit = -1 if most is None and self._database.dialect == "sqlite" else most
        with self._database.read() as connection:
            names = connection.scalars(_TOOLS, {"most": limit}).all()
        return sorted(name for name in names if isinstance(name, str))  # on SQLite also bytes


# Without an ORDER BY, no more are looked up than are asked for.
_TOOLS = sa.text("""
WITH RECURSIVE tools(tool_name) AS (
    SELECT MIN(tool_name) FROM tool_executions
    UNION ALL
    SELECT (SELECT MIN(x.tool_name) FROM tool_executions x WHERE x.tool_name > tools.tool_name)
    FROM tools WHERE tools.tool_name IS NOT NULL
)
SELECT tool_name FROM tools WHERE tool_name IS NOT NULL LIMIT :most""")
