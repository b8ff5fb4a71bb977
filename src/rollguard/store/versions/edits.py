"""Edits: code that was changed in place in a folder is a version, and is live, as soon as it is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.judge import Rules
from rollguard.model.session import Session
from rollguard.model.version import Deployment, Version
from rollguard.store import rollback_states
from rollguard.store.database.engine import Database
from rollguard.store.monitoring.starting import start
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import quarantined_code as q
from rollguard.store.schema import tool_deployments as d
from rollguard.store.schema import tool_versions as v
from rollguard.store.versions import quarantine, versions
from rollguard.store.versions.superseding import supersede

_UNKNOWN, _REASON = "unknown", "edited in the folder"
_live, _ever = v.alias("live"), d.alias("ever")
_parent = sa.bindparam("parent", type_=sa.String)
_QUARANTINED = sa.exists().where(
    q.c.sha256 == sa.bindparam("sha256"),
    sa.or_(  # the tool, or another one that may be in the same file; see `may_share_a_file`
        q.c.tool_name.in_((sa.bindparam("name"), _parent)),
        *(
            sa.func.substr(q.c.tool_name, 1, sa.func.length(beginning) + 1) == beginning + "/"
            for beginning in (sa.bindparam("name", type_=sa.String), _parent)
        ),
    ),
)
_PLACE = sa.select(
    sa.select(v.c.version_number)
    .where(v.c.tool_name == sa.bindparam("name"), v.c.sha256 == sa.bindparam("sha256"))
    .scalar_subquery(),
    _live.c.version_number,
    _live.c.sha256,
    _QUARANTINED.where(q.c.lifted_at.is_(None)),
    sa.exists().where(_ever.c.tool_name == sa.bindparam("name")),
).select_from(
    sa.select(sa.literal(1).label("one"))
    .subquery()
    .outerjoin(d, (d.c.tool_name == sa.bindparam("name")) & d.c.ended_at.is_(None))
    .outerjoin(_live, (_live.c.tool_name == d.c.tool_name) & (_live.c.version_number == d.c.version_number))
)
_UNWATCHED = sa.and_(
    d.c.ended_at.is_(None),
    d.c.edit_began_at.is_not(None),
    ~sa.exists().where(
        m.c.tool_name == d.c.tool_name,
        m.c.version_number == d.c.version_number,
        sa.or_(m.c.status == "active", m.c.deployment_time >= d.c.edit_began_at),
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the database knows of some code of a tool.

    Attributes:
        version_number: the version that it is; None if it is none.
        live: the version that is live; None if the tool was never deployed.
        live_sha256: hash of the live version's code.
        quarantined: whether the code is in quarantine.
        deployed: whether the tool ever had a live version.
    """

    version_number: int | None
    live: int | None
    live_sha256: str | None
    quarantined: bool
    deployed: bool = False

    @property
    def withdrawn(self) -> bool:
        """Return whether it is code of a tool that was withdrawn, so that nobody serves it."""
        return self.live is None and self.deployed and self.version_number is not None


@dataclass(frozen=True, slots=True)
class Edited:
    """Code that was found in a folder, and is a version now.

    Attributes:
        version: the version.
        deployment: how it went live just now; None if it did not.
    """

    version: Version
    deployment: Deployment | None = None


class Edits:
    """Versions and deployments of code that nobody deployed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def place_of(self, tool_name: str, sha256: str) -> Place:
        """Return what is known of code, by its hash."""
        with self._database.read() as connection:
            return Place(*connection.execute(_PLACE, _names(tool_name, sha256)).one())

    def serve(
        self,
        tool_name: str,
        code: bytes,
        *,
        goes_live: Callable[[Deployment | None, Version | None], bool | None],
        begin: Callable[[Connection, Deployment], None] | None,
        within: timedelta,
        now: datetime,
    ) -> Edited | None:
        """Store code that is served as a version, and make it live if it is an edit. The file holds it already.

        Args:
            goes_live: returns, for the live deployment and the version of the code, as far as there are such, whether
                the code goes live; None if a change of the file is under way, so that nothing is to be stored. Code in
                quarantine does not. An edit overtakes a rollback that is decided, as a deployment does.
            begin: starts the session of an edit, in the same transaction.
            within: a save that follows the one before it within this time belongs to the same edit.

        Returns:
            The version; None if nothing is stored now.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            sha256 = versions.digest(code)
            before, known = versions.live(connection, tool_name), versions.find(connection, tool_name, sha256)
            if known is not None and before is not None and known.version_number == before.version_number:
                return Edited(known)
            if known is not None and rollback_states.is_under_way(connection, tool_name, to=known.version_number):
                return Edited(known)  # its file was restored with another tool of it, and its own rollback follows
            wanted = goes_live(before, known)
            if wanted is None:
                return None if known is None else Edited(known)
            version = known or versions.insert(
                connection,
                tool_name,
                code,
                kind="edit" if before else "initial",
                created_by=_UNKNOWN,
                reason=_REASON if before else "found in the folder",
                parent_version=before.version_number if before else None,
                now=now,
            )
            withdrawn = before is None and known is not None and bool(versions.deployments(connection, tool_name))
            if withdrawn or not wanted or quarantine.of_shared_code(connection, tool_name, sha256) is not None:
                return Edited(version)
            after = versions.move_pointer(
                connection,
                tool_name,
                version.version_number,
                at=now,
                by=_UNKNOWN,
                reason=_REASON,
                ended_by="deployment",
                edit_began_at=_began(before, now, within),
            )
            supersede(connection, tool_name, after, now)
            if begin is not None and before is not None:
                begin(connection, after)
            return Edited(version, after)

    def monitor(self, rules_of: Callable[[str], Rules], now: datetime) -> list[Session]:
        """Start the session of each live edit that has none, because it was served by a process without a monitor."""
        with self._database.read() as connection:
            names = list(connection.scalars(sa.select(d.c.tool_name).where(_UNWATCHED).order_by(d.c.deployment_id)))
        return [session for name in names if (session := self._monitor(name, rules_of(name), now)) is not None]

    def _monitor(self, tool_name: str, rules: Rules, now: datetime) -> Session | None:
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            row = connection.execute(
                sa.select(d.c.edit_began_at, d.c.version_number).where(_UNWATCHED, d.c.tool_name == tool_name)
            ).one_or_none()
            if row is None:  # another process was faster
                return None
            return start(
                connection, tool_name, row.edit_began_at, rules, version_number=row.version_number, notes=None, now=now
            )


def _names(tool_name: str, sha256: str) -> dict[str, str]:
    return {"name": tool_name, "parent": tool_name.rpartition("/")[0] or tool_name, "sha256": sha256}


def _began(before: Deployment | None, now: datetime, within: timedelta) -> datetime | None:
    """Return when the edit began that a save at `now` belongs to; None for a tool's first version."""
    if before is None:
        return None
    if before.edit_began_at is not None and now - before.deployed_at < within:
        return before.edit_began_at
    return now
