"""Quarantine: code that was rolled back, by its hash. It does not go live again unless a person insists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import CodeQuarantined, UnknownVersion
from rollguard.model.names import may_share_a_file
from rollguard.model.rollback import Quarantined
from rollguard.model.version import Version
from rollguard.store import outbox
from rollguard.store.database.engine import Database
from rollguard.store.schema import quarantined_code as q

_IN_FORCE = q.c.lifted_at.is_(None)


class Quarantine:
    """The table `quarantined_code`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def in_force(self, tool_name: str | None = None) -> list[Quarantined]:
        """Return the quarantines in force, the latest first."""
        return self._listed(tool_name, _IN_FORCE)

    def history(self, tool_name: str | None = None) -> list[Quarantined]:
        """Return every quarantine, lifted ones too, the latest first."""
        return self._listed(tool_name, sa.true())

    def refuse(self, version: Version) -> None:
        """Raise `CodeQuarantined` if the version's code may not go live."""
        with self._database.read() as connection:
            refuse(connection, version)

    def lift(self, tool_name: str, version_number: int, *, by: str, now: datetime) -> Quarantined:
        """Lift a version's quarantine, so that it can be deployed again.

        Raises:
            UnknownVersion: no such version is in quarantine.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            row = connection.execute(
                sa.update(q)
                .where(q.c.tool_name == tool_name, q.c.version_number == version_number, _IN_FORCE)
                .values(lifted_at=now, lifted_by=by)
                .returning(q)
            ).one_or_none()
        if row is None:
            raise UnknownVersion(
                f"version {version_number} of {tool_name} is not in quarantine; list what is with: rollguard quarantine"
            )
        return _quarantined(row)

    def noticed(self, quarantine_id: int, *, on_disk: bool, event: dict[str, Any], now: datetime) -> bool:
        """Record whether a tool's file holds quarantined code, and notify people when it begins to.

        Returns:
            Whether people are notified now: once for each time that the code comes back.
        """
        with self._database.write() as connection:
            news = q.c.noticed_at.is_(None) if on_disk else q.c.noticed_at.is_not(None)
            changed = connection.execute(
                sa.update(q)
                .where(q.c.quarantine_id == quarantine_id, _IN_FORCE, news)
                .values(noticed_at=now if on_disk else None)
            ).rowcount
            begins = on_disk and changed == 1
            if begins:
                outbox.add(connection, event, now)
            return begins

    def _listed(self, tool_name: str | None, which: sa.ColumnElement[bool]) -> list[Quarantined]:
        query = sa.select(q).where(which).order_by(q.c.quarantine_id.desc())
        if tool_name is not None:
            query = query.where(q.c.tool_name == tool_name)
        with self._database.read() as connection:
            return [_quarantined(row) for row in connection.execute(query)]


# --- on a connection, for transactions that do more ------------------------------------------------------------------


def add(connection: Connection, version: Version, *, reason: str, rollback_id: int, now: datetime) -> None:
    """Quarantine a version's code. Code that is in quarantine already stays so. The caller holds the tool's lock."""
    if of_code(connection, version.tool_name, version.sha256) is None:
        connection.execute(
            sa.insert(q).values(
                tool_name=version.tool_name,
                sha256=version.sha256,
                version_number=version.version_number,
                rollback_id=rollback_id,
                reason=reason,
                quarantined_at=now,
            )
        )


def of_code(connection: Connection, tool_name: str, sha256: str) -> Quarantined | None:
    """Return the quarantine in force of this code of the tool, None if there is none."""
    row = connection.execute(
        sa.select(q).where(q.c.tool_name == tool_name, q.c.sha256 == sha256, _IN_FORCE)
    ).one_or_none()
    return None if row is None else _quarantined(row)


def of_shared_code(connection: Connection, tool_name: str, sha256: str) -> Quarantined | None:
    """Return the quarantine in force of this code, of the tool or of another one in the same file or package."""
    rows = connection.execute(sa.select(q).where(q.c.sha256 == sha256, _IN_FORCE)).all()
    found = [row for row in rows if may_share_a_file(row.tool_name, tool_name)]
    return _quarantined(min(found, key=lambda row: row.tool_name != tool_name)) if found else None


def versions_in(connection: Connection, tool_name: str) -> set[int]:
    """Return the versions of the tool that are in quarantine."""
    return set(connection.scalars(sa.select(q.c.version_number).where(q.c.tool_name == tool_name, _IN_FORCE)))


def refuse_or_lift(connection: Connection, version: Version, *, force: bool, by: str, now: datetime) -> None:
    """Refuse a version whose code is in quarantine; with `force` lift its quarantine instead.

    Raises:
        CodeQuarantined: the version's code is in quarantine, and `force` is False.
    """
    if not force:
        refuse(connection, version)
        return
    connection.execute(
        sa.update(q)
        .where(q.c.tool_name == version.tool_name, q.c.sha256 == version.sha256, _IN_FORCE)
        .values(lifted_at=now, lifted_by=by)
    )


def refuse(connection: Connection, version: Version) -> None:
    """Raise `CodeQuarantined` if the version's code may not go live."""
    held = of_shared_code(connection, version.tool_name, version.sha256)
    if held is not None:
        raise CodeQuarantined(
            f"{held.tool_name}: this code is version {held.version_number}, which was rolled back at "
            f"{held.quarantined_at:%Y-%m-%d %H:%M} UTC ({held.reason}) and is in quarantine; fix it, or insist with "
            "force=True, which is: rollguard deploy --force"
        )


def _quarantined(row: Row[Any]) -> Quarantined:
    return Quarantined(**{name: getattr(row, name) for name in Quarantined.__dataclass_fields__})
