"""List stored executions, and count them by a tag. Only executions that are still kept are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from rollguard.model.execution import FIELDS, Execution
from rollguard.model.tags import Tag, checked_tags, tag_as_text
from rollguard.store.database.engine import Database
from rollguard.store.schema import tool_deployments as d
from rollguard.store.schema import tool_executions as t

_IDS_AT_ONCE = 500  # values of one statement; SQLite takes some thousands


@dataclass(frozen=True, slots=True)
class ByTag:
    """The executions with one value of a tag.

    Attributes:
        value: the value as text; None for executions without the tag.
        total, failures: how many there are, and how many of them failed.
    """

    value: str | None
    total: int
    failures: int


class Listing:
    """Reads of the table `tool_executions` for people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(
        self,
        tool_name: str | None = None,
        *,
        tags: Mapping[str, Tag] | None = None,
        failed: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
        version: int | None = None,
        limit: int = 20,
        skip: int = 0,
    ) -> list[Execution]:
        """Return the latest executions, newest first.

        Args:
            tool_name: only those of this tool.
            tags: only those with all of these tags; values are compared as text.
            failed: only failed ones.
            since: only those that began then or later.
            version: only those that name this version, or name none and began while it was live.
            until: only those that began then or earlier.
            skip: leave out so many of the newest, such as those that began at `until` and are known.
        """
        wanted = sa.select(*(t.c[name] for name in FIELDS)).where(*self._where(tool_name, tags, since))
        if until is not None:
            wanted = wanted.where(t.c.executed_at <= until)
        if version is not None:
            wanted = wanted.where(_of_version(version))
        if failed:
            wanted = wanted.where(t.c.success.is_(False))
        wanted = wanted.order_by(t.c.executed_at.desc(), t.c.id.desc()).limit(limit).offset(skip or None)
        with self._database.read() as connection:
            return [Execution._make(row) for row in connection.execute(wanted)]

    def with_ids(self, execution_ids: Sequence[str]) -> dict[str, Execution]:
        """Return those of some executions that are still kept, by their id."""
        found: dict[str, Execution] = {}
        with self._database.read() as connection:
            for start in range(0, len(execution_ids), _IDS_AT_ONCE):
                some = execution_ids[start : start + _IDS_AT_ONCE]
                wanted = sa.select(*(t.c[name] for name in FIELDS)).where(t.c.execution_id.in_(some))
                found |= {row.execution_id: Execution._make(row) for row in connection.execute(wanted)}
        return found

    def outcomes(self, tool_name: str, *, success: bool, since: datetime, limit: int) -> list[Execution]:
        """Return the tool's latest executions that succeeded, or those that failed, newest first."""
        wanted = sa.select(*(t.c[name] for name in FIELDS)).where(*self._where(tool_name, None, since))
        wanted = wanted.where(t.c.success.is_(success)).order_by(t.c.executed_at.desc(), t.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [Execution._make(row) for row in connection.execute(wanted)]

    def by_tag(
        self,
        name: str,
        tool_name: str | None = None,
        *,
        tags: Mapping[str, Tag] | None = None,
        since: datetime | None = None,
        limit: int = 20,
    ) -> list[ByTag]:
        """Count executions by the value of a tag, the most frequent first. The arguments are those of `recent`."""
        value = self._value(name).label("value")
        total = sa.func.count().label("total")
        failures = sa.func.count().filter(t.c.success.is_(False))
        wanted = sa.select(value, total, failures).where(*self._where(tool_name, tags, since))
        wanted = wanted.group_by(value).order_by(total.desc(), value).limit(limit)
        with self._database.read() as connection:
            return [ByTag(*row) for row in connection.execute(wanted)]

    def _where(
        self, tool_name: str | None, tags: Mapping[str, Tag] | None, since: datetime | None
    ) -> list[sa.ColumnElement[bool]]:
        conditions: list[sa.ColumnElement[bool]] = []
        if tool_name is not None:
            conditions.append(t.c.tool_name == tool_name)
        if since is not None:
            conditions.append(t.c.executed_at >= since)
        for name, value in checked_tags(tags or {}).items():
            conditions.append(self._value(name) == tag_as_text(value))
        return conditions

    def _value(self, name: str) -> sa.ColumnElement[Any]:
        """Return the value of a tag as text."""
        if self._database.dialect == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB  # large, and SQLite does without

            found: sa.ColumnElement[Any] = sa.cast(t.c.tags, JSONB)[sa.literal(name)].astext
            return found
        each = sa.func.json_each(t.c.tags).table_valued("key", "type", "atom")
        text = sa.case((each.c.type.in_(("true", "false")), each.c.type), else_=sa.cast(each.c.atom, sa.Text))
        return sa.select(text).where(each.c.key == name).scalar_subquery()


def _of_version(number: int) -> sa.ColumnElement[bool]:
    began = sa.and_(d.c.tool_name == t.c.tool_name, d.c.version_number == number, d.c.deployed_at <= t.c.executed_at)
    while_live = sa.exists().where(began, sa.or_(d.c.ended_at.is_(None), t.c.executed_at < d.c.ended_at))
    return sa.or_(t.c.version_number == number, sa.and_(t.c.version_number.is_(None), while_live))
