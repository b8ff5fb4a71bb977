"""Executions: writing them, once each, and counting them in the two windows of a session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa

from rollguard.errors import InvalidInput
from rollguard.judge import Window
from rollguard.model.execution import Failure
from rollguard.model.names import checked_id, checked_tool_name
from rollguard.model.rollback import Unverified
from rollguard.model.session import Session
from rollguard.store.database.engine import Database
from rollguard.store.executions.bulk_insert import values_of, write_once
from rollguard.store.executions.ids import new_id
from rollguard.store.executions.payloads import Payloads, clean_text
from rollguard.store.executions.validate import (
    check_fields,
    checked_duration,
    checked_error,
    checked_moment,
    checked_version,
    moment_beside,
)
from rollguard.store.executions.validate_many import checked_columns
from rollguard.store.rollups.by_minute import Minutes, Series
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.selection import Selection, baseline_of, current_of, restored_of, since

_CHECKED_AT_ONCE = 500


class _TakenBack(Exception):
    """Ends a transaction without keeping it."""


class Executions:
    """The table `tool_executions`."""

    def __init__(self, database: Database, payloads: Payloads) -> None:
        self._database = database
        self._payloads = payloads
        self._rollups = Rollups(database)
        self._minutes = Minutes(database)

    def row(
        self,
        *,
        tool_name: str,
        success: bool,
        duration_ms: float | None = None,
        error: str | BaseException | None = None,
        error_type: str | None = None,
        parameters: Any = None,
        result: Any = None,
        executed_at: datetime | None = None,
        version_number: int | None = None,
        execution_id: str | None = None,
        request_id: str | None = None,
    ) -> dict[str, Any]:
        """The checked row of one execution, ready to be written now or later.

        Raises:
            InvalidInput: a value cannot be meant; the message names the field.
        """
        name = checked_tool_name(tool_name)
        if success is not True and success is not False:
            raise InvalidInput(f"success: {success!r} is not True or False")
        if error is not None or error_type is not None:
            error_type, error = checked_error(error, error_type)
        if execution_id is None:
            moment = checked_moment(executed_at)
            execution_id = new_id(moment)
        else:
            moment = moment_beside(checked_id("execution_id", execution_id), executed_at)
        encode = self._payloads.encode
        return {
            "tool_name": name,
            "success": success,
            "duration_ms": None if duration_ms is None else checked_duration(duration_ms),
            "error_type": error_type,
            "error": error,
            "parameters": None if parameters is None else encode(name, "parameters", parameters),
            "result": None if result is None else encode(name, "result", result),
            "executed_at": moment,
            "version_number": None if version_number is None else checked_version(version_number),
            "execution_id": execution_id,
            "request_id": None if request_id is None else checked_id("request_id", request_id),
        }

    def row_of_call(
        self,
        *,
        tool_name: str,
        version_number: int | None,
        began: datetime,
        duration_ms: float,
        success: bool,
        error: str | None,
        error_type: str | None,
        parameters: str | None,
        result: str | None,
        request_id: str | None = None,
    ) -> dict[str, Any]:
        """The row of a call that we made ourselves: what is `encoded` and checked already is not looked at again."""
        return {
            "tool_name": tool_name,
            "success": success,
            "duration_ms": duration_ms,
            "error_type": None if error_type is None else clean_text(error_type, 200),
            "error": None if error is None else clean_text(error),
            "parameters": parameters,
            "result": result,
            "executed_at": began,
            "version_number": version_number,
            "execution_id": new_id(began),
            "request_id": request_id,
        }

    def encoded(self, tool_name: str, what: str, value: Any) -> str | None:
        """Parameters or a result as they are kept: JSON, redacted, cut to the limit; None for nothing."""
        return self._payloads.encode(tool_name, what, value)

    def row_from(self, execution: Mapping[str, Any]) -> dict[str, Any]:
        """The checked row of an execution given as a mapping with the fields of `row`.

        Raises:
            InvalidInput: a field is unknown, missing or impossible.
        """
        try:
            return self.row(**execution)
        except TypeError:
            check_fields(execution)
            raise

    def write(self, rows: Iterable[dict[str, Any]], *, durable: bool = False) -> int:
        """Write checked rows, all or none. A row whose `execution_id` is already stored changes nothing.

        Args:
            durable: survive the loss of power as well as that of the process (SQLite; PostgreSQL's server decides).

        Returns:
            How many rows were new.
        """
        return self._write(map(values_of, rows), durable=durable)

    def write_from(self, executions: Iterable[Mapping[str, Any]]) -> int:
        """Check and write executions given as mappings with the fields of `row`, all or none; as `write`.

        Raises:
            InvalidInput: a field is unknown, missing or impossible; nothing was written.
        """
        return self._write(self._rows_from(iter(executions)))

    def _rows_from(self, executions: Iterator[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
        before = 0
        while some := list(islice(executions, _CHECKED_AT_ONCE)):
            columns = checked_columns(some, self._payloads)
            yield from self._one_by_one(some, before) if columns is None else columns
            before += len(some)

    def _one_by_one(self, executions: Sequence[Mapping[str, Any]], before: int) -> Iterator[tuple[Any, ...]]:
        for number, execution in enumerate(executions, start=before + 1):
            try:
                yield values_of(self.row_from(execution))
            except InvalidInput as error:
                error.number = number
                raise

    def _write(self, rows: Iterator[tuple[Any, ...]], *, durable: bool = False) -> int:
        first = next(rows, None)
        if first is None:
            return 0
        with self._database.write(durable=durable) as connection:
            return write_once(connection, chain((first,), rows))

    def try_writing(self) -> None:
        """Write a plain execution and take it back: whether the database takes executions at all.

        Raises:
            StoreError: it does not.
        """
        with contextlib.suppress(_TakenBack), self._database.write(durable=False) as connection:
            write_once(connection, [values_of(self.row(tool_name="rollguard", success=True))])
            raise _TakenBack

    # --- counting --------------------------------------------------------------------------------------------------

    def windows(self, session: Session, until: datetime) -> tuple[Window, Window]:
        """(baseline, current) of a session, current up to and including `until`; see `windows_of`."""
        return self.windows_of([(session, until)])[0]

    def windows_of(self, sessions: Sequence[tuple[Session, datetime]]) -> list[tuple[Window, Window]]:
        """(baseline, current) of each session, current up to and including the time beside it.

        An execution that names its version counts for that version whatever its clock says; one that names none
        counts by its time. One at exactly the deployment's time is current. A baseline that is kept is not counted
        again.
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
        """The executions of each window, a window being the sum of its selections."""
        return self._rollups.count(windows)

    def by_minute(self, windows: Sequence[Sequence[Selection]], *, durations: bool = False) -> list[Series]:
        """The executions of each window, minute by minute; see `Minutes.of`."""
        self._rollups.refresh_if_due()
        return self._minutes.of(windows, durations=durations)

    def latest(
        self, session: Session, after: datetime, until: datetime, limit: int
    ) -> list[tuple[datetime, bool, str | None]]:
        """(executed_at, success, error_type) of the session's latest current executions, the oldest first.

        Only those in (after, until], and only the last of each request.
        """
        start = max(session.deployment_time, after)
        selections = since(session, start, until + timedelta(microseconds=1))
        clipped = [replace(selection, start=start) for selection in selections]  # one may begin before
        return self._rollups.outcomes(clipped, limit)[::-1]

    def failures_in(self, selections: Sequence[Selection], limit: int) -> list[Failure]:
        """The latest failures of some selections, as far as their rows are kept: those that are counted, no others."""
        return self._rollups.failures(selections, limit)

    def windows_after(self, rollbacks: Sequence[tuple[Unverified, datetime]]) -> list[tuple[Window, Window]]:
        """(baseline of its session, calls of the restored version since) of each rollback, up to the time beside it."""
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

    def failures(self, session: Session, until: datetime, limit: int) -> tuple[list[Failure], list[Failure]]:
        """The latest failed executions of the baseline and of the current window, at most `limit` of each."""
        return (
            self.failures_in(baseline_of(session, until), limit),
            self.failures_in(current_of(session, until), limit),
        )

    def tool_names(self) -> list[str]:
        """Every tool that has an execution, by name; by one look at the index for each."""
        with self._database.read() as connection:
            return list(connection.scalars(_TOOLS))


_TOOLS = sa.text("""
WITH RECURSIVE tools(tool_name) AS (
    SELECT MIN(tool_name) FROM tool_executions
    UNION ALL
    SELECT (SELECT MIN(x.tool_name) FROM tool_executions x WHERE x.tool_name > tools.tool_name)
    FROM tools WHERE tools.tool_name IS NOT NULL
)
SELECT tool_name FROM tools WHERE tool_name IS NOT NULL ORDER BY 1""")
