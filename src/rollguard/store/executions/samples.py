"""Read whole calls of a tool for an investigation: the latest, some of the whole time, or the first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from rollguard.judge import GIVEN_UP, UNCOUNTED
from rollguard.model.execution import FIELDS, Execution
from rollguard.store.database.engine import Database
from rollguard.store.schema import tool_executions as t

_SLICES = 10  # of a time of which a few calls each are read


class Samples:
    """Reads them. A time on SQLite that cannot be read leaves the call out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(
        self,
        tool_name: str,
        since: datetime,
        until: datetime,
        limit: int,
        *,
        failed: bool,
        longest: int | None = None,
        within: float | None = None,
        spread: bool = False,
    ) -> list[Execution]:
        """Return the latest calls from `since` up to and including `until`, the latest first, without their results.

        Args:
            limit: number of calls at most.
            failed: whether those that failed, or those that succeeded.
            longest: characters of parameters that are read; longer ones are left out.
            within: seconds that it may take.
            spread: True takes them evenly from the whole time instead: each call is as likely to be among them.
        """
        conditions = _conditions(tool_name, since, until, failed=failed)
        with self._database.read(within=within) as connection:
            if spread:
                every = connection.execute(sa.select(sa.func.count()).where(*conditions)).scalar_one() // limit + 1
                conditions.append(_SCATTERED % every == 0)
            latest = t.c.executed_at.desc(), t.c.id.desc()
            wanted = sa.select(*_read(longest)).where(*conditions).order_by(*latest).limit(limit)
            rows: list[Any] = [Execution._make(row) for row in connection.execute(wanted)]
        return [row for row in rows if row.executed_at is not None]

    def over(
        self, tool_name: str, since: datetime, until: datetime, limit: int, *, failed: bool, longest: int, within: float
    ) -> list[Execution]:
        """Return the latest calls, and if there are more, as many from the whole time before, a few of each part of it.

        That takes as long with many calls as with few. The arguments are those of `of`.
        """
        each = limit // (2 * _SLICES)
        with self._database.read(within=within) as connection:

            def some(begin: datetime, end: datetime, number: int, *order: sa.ColumnElement[Any]) -> list[Any]:
                conditions = _conditions(tool_name, begin, end, failed=failed)
                wanted = sa.select(*_read(longest)).where(*conditions).order_by(*order).limit(number)
                return [row for row in map(Execution._make, connection.execute(wanted)) if row.executed_at is not None]

            rows = some(since, until, limit, t.c.executed_at.desc(), t.c.id.desc())
            if len(rows) < limit:
                return rows
            del rows[limit - each * _SLICES :]
            part = (rows[-1].executed_at - since) / _SLICES
            for number in range(_SLICES):
                begin = since + number * part
                end = begin + part - timedelta(microseconds=1)  # the end belongs to the next
                rows += some(begin, end, each, t.c.executed_at, t.c.id)
        return rows

    def first(
        self, tool_name: str, since: datetime, until: datetime, limit: int, error_type: str | None
    ) -> list[Execution]:
        """Return the earliest failed calls of an error type from `since` on and before `until`, the earliest first."""
        conditions = (
            t.c.tool_name == tool_name,
            t.c.executed_at >= since,
            t.c.executed_at < until,
            t.c.success.is_(False),
            t.c.error_type.is_(None) if error_type is None else t.c.error_type == error_type,
        )
        wanted = sa.select(*_read(None)).where(*conditions).order_by(t.c.executed_at, t.c.id).limit(limit)
        with self._database.read() as connection:
            rows: list[Any] = [Execution._make(row) for row in connection.execute(wanted)]
        return [row for row in rows if row.executed_at is not None]


def _conditions(tool_name: str, since: datetime, until: datetime, *, failed: bool) -> list[sa.ColumnElement[bool]]:
    conditions = [
        t.c.tool_name == tool_name,
        t.c.executed_at >= since,
        t.c.executed_at <= until,
        t.c.success.is_(not failed),
    ]
    if failed:
        conditions.append(sa.func.coalesce(t.c.error_type, "").not_in((*UNCOUNTED, GIVEN_UP)))
    return conditions


# Calls come in patterns, so that every tenth may be of one kind.
_SCATTERED = t.c.id % 100_003 * 60_013 % 100_003


def _read(longest: int | None) -> list[sa.ColumnElement[Any]]:
    """Return the columns: all but the result, and parameters only up to a length."""
    read: dict[str, sa.ColumnElement[Any]] = {name: t.c[name] for name in FIELDS}
    read["result"] = sa.null().label("result")
    if longest is not None:
        fits = sa.func.length(t.c.parameters) <= longest
        read["parameters"] = sa.case((fits, t.c.parameters)).label("parameters")
        read["traceback"] = sa.null().label("traceback")
    return list(read.values())
