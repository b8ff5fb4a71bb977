"""Executions: writing them, once each, and counting them in the two windows of a session."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from rollguard.errors import InvalidInput
from rollguard.judge import Window
from rollguard.store.bulk import write_once
from rollguard.store.engine import Database
from rollguard.store.names import checked_id, checked_tool_name
from rollguard.store.payloads import Payloads, clean_text
from rollguard.store.records import Failure, Session, Unverified
from rollguard.store.rollups import WORTH_FOLDING, Rollups, fold
from rollguard.store.schema import tool_executions as t
from rollguard.store.stretches import Stretch, baseline_of, current_of, restored_of, rows_in

_BATCH = 1_000
_ERROR_TYPE = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Warning|Timeout|Interrupt|Exit))\b")
_FIELDS = (
    "tool_name",
    "success",
    "duration_ms",
    "error",
    "error_type",
    "parameters",
    "result",
    "executed_at",
    "version_number",
    "execution_id",
)


class Executions:
    """The table `tool_executions`."""

    def __init__(self, database: Database, payloads: Payloads) -> None:
        self._database = database
        self._payloads = payloads
        self._rollups = Rollups(database)

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
    ) -> dict[str, Any]:
        """The checked row of one execution, ready to be written now or later.

        Raises:
            InvalidInput: a value cannot be meant; the message names the field.
        """
        name = checked_tool_name(tool_name)
        if not isinstance(success, bool):
            raise InvalidInput(f"success: {success!r} is not True or False")
        if isinstance(error, BaseException):
            error_type = error_type or type(error).__name__
            error = text_of(error)
        elif error is not None:
            error_type = error_type or _type_named_in(str(error))
        return {
            "tool_name": name,
            "success": success,
            "duration_ms": _checked_duration(duration_ms),
            "error_type": None if error_type is None else clean_text(str(error_type), 200),
            "error": None if error is None else clean_text(str(error)),
            "parameters": self._payloads.encode(name, "parameters", parameters),
            "result": self._payloads.encode(name, "result", result),
            "executed_at": _checked_moment(executed_at),
            "version_number": _checked_version(version_number),
            "execution_id": uuid.uuid4().hex if execution_id is None else checked_id("execution_id", execution_id),
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
            "execution_id": uuid.uuid4().hex,
        }

    def encoded(self, tool_name: str, what: str, value: Any) -> str | None:
        """Parameters or a result as they are kept: JSON, redacted, cut to the limit; None for nothing."""
        return self._payloads.encode(tool_name, what, value)

    def row_from(self, execution: Mapping[str, Any]) -> dict[str, Any]:
        """The checked row of an execution given as a mapping with the fields of `row`.

        Raises:
            InvalidInput: a field is unknown, missing or impossible.
        """
        unknown = sorted(set(execution) - set(_FIELDS))
        if unknown:
            raise InvalidInput(f"{unknown[0]}: unknown field of an execution; the known ones are {', '.join(_FIELDS)}")
        for needed in ("tool_name", "success"):
            if needed not in execution:
                raise InvalidInput(f"{needed}: missing; an execution needs tool_name and success")
        return self.row(**execution)

    def write(self, rows: Iterable[dict[str, Any]]) -> int:
        """Write checked rows, all or none. A row whose `execution_id` is already stored changes nothing.

        Returns:
            How many rows were new.
        """
        new = 0
        source = iter(rows)
        batch = list(islice(source, _BATCH))
        if not batch:
            return 0
        with self._database.write(durable=False) as connection:
            while batch:
                new += self._write_batch(connection, batch)
                batch = list(islice(source, _BATCH))
            if self._database.dialect == "sqlite" and new >= WORTH_FOLDING:
                fold(connection, "sqlite")
        return new

    def _write_batch(self, connection: Connection, batch: list[dict[str, Any]]) -> int:
        if self._database.dialect == "postgresql":
            return write_once(connection, batch)
        once = sqlite.insert(t).on_conflict_do_nothing(index_elements=["execution_id"])
        return len(connection.execute(once.returning(t.c.id), batch).all())

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
        self._rollups.fold_if_worth_it()
        asked: list[Sequence[Stretch]] = []
        for session, until in sessions:
            asked += [() if session.baseline else baseline_of(session), current_of(session, until)]
        counted = self._rollups.count(asked)
        return [
            (session.baseline or counted[2 * number], counted[2 * number + 1])
            for number, (session, _until) in enumerate(sessions)
        ]

    def windows_after(self, rollbacks: Sequence[tuple[Unverified, datetime]]) -> list[tuple[Window, Window]]:
        """(baseline of its session, calls of the restored version since) of each rollback, up to the time beside it."""
        asked: list[Sequence[Stretch]] = []
        for unverified, until in rollbacks:
            session, rollback = unverified.session, unverified.rollback
            asked.append(() if session.baseline else baseline_of(session))
            asked.append(restored_of(rollback.tool_name, rollback.to_version or 0, rollback.rollback_time, until))
        counted = self._rollups.count(asked)
        return [
            (unverified.session.baseline or counted[2 * number], counted[2 * number + 1])
            for number, (unverified, _until) in enumerate(rollbacks)
        ]

    def failures(self, session: Session, until: datetime, limit: int) -> tuple[list[Failure], list[Failure]]:
        """The latest failed executions of the baseline and of the current window, at most `limit` of each."""
        with self._database.read() as connection:
            return (
                _failures(connection, rows_in(baseline_of(session)), limit),
                _failures(connection, rows_in(current_of(session, until)), limit),
            )

    def tool_names(self) -> list[str]:
        """Every tool that has an execution, by name."""
        with self._database.read() as connection:
            return list(connection.scalars(sa.select(t.c.tool_name).distinct().order_by(t.c.tool_name)))


def _failures(connection: Connection, condition: sa.ColumnElement[bool], limit: int) -> list[Failure]:
    columns = (
        t.c.execution_id,
        t.c.executed_at,
        t.c.version_number,
        t.c.error_type,
        t.c.error,
        t.c.parameters,
    )
    rows = connection.execute(
        sa.select(*columns)
        .where(condition, t.c.success.is_(sa.false()))
        .order_by(t.c.executed_at.desc(), t.c.id.desc())
        .limit(limit)
    )
    return [Failure(*row) for row in rows]


def text_of(error: BaseException) -> str:
    """What an exception says of itself, even where it fails to."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a tool's own exception may fail to describe itself
        return f"<{type(error).__name__}: str failed with {second!r}>"


def _type_named_in(error: str) -> str | None:
    match = _ERROR_TYPE.match(error)
    return match.group(1).rpartition(".")[2] if match else None


def _checked_duration(value: object) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise InvalidInput(f"duration_ms: {value!r} is not a finite number of milliseconds, 0 or more")
    return float(value)  # type: ignore[arg-type]


def _checked_moment(value: object) -> datetime:
    if value is None:
        return datetime.now(UTC)
    if not isinstance(value, datetime):
        raise InvalidInput(f"executed_at: {value!r} is not a datetime")
    return value


def _checked_version(value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31):
        raise InvalidInput(f"version_number: {value!r} is not a version's number, 1 or more")
    return value
