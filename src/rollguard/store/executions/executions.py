"""Write executions, once each, and count them in the two windows of a session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa

from rollguard.errors import InvalidInput
from rollguard.judge import Hangs, Window
from rollguard.model.execution import Columns, Execution, Failure, checked, columns_of
from rollguard.model.failed_at import where_failed
from rollguard.model.redaction import Redaction
from rollguard.model.rollback import Unverified
from rollguard.model.session import Session
from rollguard.store.database.engine import Database
from rollguard.store.executions.bulk_insert import write_once
from rollguard.store.executions.complete import complete, complete_call, stored_place
from rollguard.store.executions.payloads import Payloads
from rollguard.store.rollups.by_minute import Minutes, Series
from rollguard.store.rollups.intervals import HOUR
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.refresh import REFRESH_THRESHOLD, refresh_after_writing, refresh_if_due
from rollguard.store.rollups.selection import Selection, baseline_of, current_of, restored_of, since

_AT_ONCE = 200  # executions that are checked and converted together; they stay in memory


class _TakenBack(Exception):
    """Raised to roll a transaction back."""


class Executions:
    """The table `tool_executions`."""

    def __init__(self, database: Database, payloads: Payloads) -> None:
        self._database = database
        self._payloads, self.is_simple = payloads, payloads.is_simple
        self._rollups = Rollups(database)
        self._minutes = Minutes(database)
        self._since_refresh = 0  # executions that this process has written

    @property
    def redaction(self) -> Redaction:
        """Return what is a secret in them."""
        return self._payloads.redaction

    def row(self, **execution: Any) -> Execution:
        """Return the complete execution with these fields, ready to be written now or later.

        Raises:
            InvalidInput: a field is unknown, missing or invalid; the message names it.
        """
        (row,) = zip(*complete(checked([execution]), self._payloads), strict=True)
        return Execution._make(row)

    def rows(self, executions: Sequence[Mapping[str, Any]]) -> list[Execution | InvalidInput]:
        """Return the complete execution of each mapping, as `row` does, or what is wrong with it."""
        found: list[Execution | InvalidInput] = []
        for start in range(0, len(executions), _AT_ONCE):
            some = executions[start : start + _AT_ONCE]
            try:
                found += map(Execution._make, zip(*complete(checked(some), self._payloads), strict=True))
            except InvalidInput:
                found += map(self._row_or_problem, some)
        return found

    def _row_or_problem(self, execution: Mapping[str, Any]) -> Execution | InvalidInput:
        try:
            return self.row(**execution)
        except InvalidInput as problem:
            return problem

    def of_call(self, note: Sequence[Any]) -> Execution:
        """Return the complete execution of a call that Rollguard recorded; see `complete_call`."""
        return complete_call(note, self._payloads)

    def encoded(self, tool_name: str, what: str, value: Any, left_out: Iterable[Any] = ()) -> str | None:
        """Return parameters or a result as they are stored: JSON, redacted, cut to the limit; None for no value.

        Args:
            left_out: values beside it that are not stored, and may not be in the call's error either.
        """
        return self._payloads.encode(tool_name, what, value, left_out)

    def error_text(self, text: str, parameters: object) -> str:
        """Return the text of a call's error as it is stored: redacted, beside its encoded parameters."""
        return self._payloads.error(text, parameters)

    def place(self, error: BaseException, parameters: object) -> tuple[str | None, str | None]:
        """Return where a call failed as it is stored: the frame as JSON, and the traceback."""
        return stored_place(*where_failed(error), parameters, self._payloads)

    def write(self, executions: Iterable[Execution], *, durable: bool = False) -> int:
        """Write complete executions, all or none. One whose `execution_id` is already stored changes nothing.

        Args:
            durable: whether they survive a loss of power too (SQLite; PostgreSQL's server decides).

        Returns:
            Number of new executions.
        """
        rows = iter(executions)
        return self._write(
            (columns_of(some) for some in iter(lambda: list(islice(rows, _AT_ONCE)), [])), durable=durable
        )

    def write_from(self, executions: Iterable[Mapping[str, Any]]) -> int:
        """Check and write executions given as mappings of their fields, all or none, like `write`.

        Raises:
            InvalidInput: a field is unknown, missing or invalid; nothing was written.
        """
        return self._write(self._completed(iter(executions)))

    def _completed(self, given: Iterator[Mapping[str, Any]]) -> Iterator[Columns]:
        number = 0
        while some := list(islice(given, _AT_ONCE)):
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
            new = write_once(connection, chain((first,), parts))
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

    def tool_names(self) -> list[str]:
        """Return every tool that has an execution, by name; one index lookup each."""
        with self._database.read() as connection:
            return [name for name in connection.scalars(_TOOLS) if isinstance(name, str)]  # on SQLite also bytes


_TOOLS = sa.text("""
WITH RECURSIVE tools(tool_name) AS (
    SELECT MIN(tool_name) FROM tool_executions
    UNION ALL
    SELECT (SELECT MIN(x.tool_name) FROM tool_executions x WHERE x.tool_name > tools.tool_name)
    FROM tools WHERE tools.tool_name IS NOT NULL
)
SELECT tool_name FROM tools WHERE tool_name IS NOT NULL ORDER BY 1""")
