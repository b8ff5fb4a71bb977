"""Versions of a tool's code, and which of them is live.

Every change of what is live happens in one transaction that holds the tool's lock, with the swap of the file inside
it. So the pointer and a finished deployment never disagree.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import DeploymentConflict, InvalidInput, UnknownVersion
from rollguard.model.names import checked_tool_name
from rollguard.model.rollout import Rollout
from rollguard.model.version import Deployment, Version, last_good
from rollguard.store import rollback_states
from rollguard.store.database.engine import Database
from rollguard.store.monitoring.histories import regressed_versions
from rollguard.store.schema import release_tools as t
from rollguard.store.schema import releases
from rollguard.store.schema import tool_deployments as d
from rollguard.store.schema import tool_versions as v
from rollguard.store.versions import quarantine
from rollguard.store.versions.channel import notify
from rollguard.store.versions.standing import Standing
from rollguard.store.versions.superseding import promote, supersede

KINDS = ("initial", "bugfix", "enhancement", "improvement", "edit", "rollback")

_VERSION = (
    v.c.tool_name,
    v.c.version_number,
    v.c.code,
    v.c.sha256,
    v.c.kind,
    v.c.created_by,
    v.c.reason,
    v.c.parent_version,
    v.c.created_at,
)
_DEPLOYMENT = tuple(d.c[name] for name in Deployment.__dataclass_fields__)


def digest(code: bytes) -> str:
    """Return the SHA-256 of a tool's code in hexadecimal. Versions with the same one are one version."""
    return hashlib.sha256(code).hexdigest()


class Versions:
    """The tables `tool_versions` and `tool_deployments`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, tool_name: str, version: int | str) -> Version:
        """Return one version, by its number or by the label of a release.

        Raises:
            UnknownVersion: there is no such version.
        """
        with self._database.read() as connection:
            return get(connection, tool_name, version)

    def find(self, tool_name: str, sha256: str) -> Version | None:
        """Return the version with exactly this code, None if there is none."""
        with self._database.read() as connection:
            return find(connection, tool_name, sha256)

    def history(self, tool_name: str) -> list[Version]:
        """Return every version of the tool, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(*_VERSION).where(v.c.tool_name == tool_name).order_by(v.c.version_number.desc())
            )
            return [Version(*row) for row in rows]

    def live(self, tool_name: str) -> Deployment | None:
        """Return the deployment that is live; None if the tool was never deployed."""
        with self._database.read() as connection:
            return live(connection, tool_name)

    def live_of_all(self) -> dict[str, Deployment]:
        """Return the live deployment of every tool, by the tool's name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*_DEPLOYMENT).where(d.c.ended_at.is_(None)).order_by(d.c.tool_name))
            return {row.tool_name: Deployment(*row) for row in rows}

    def deployments(
        self, tool_name: str | None = None, *, limit: int | None = None, before: int | None = None
    ) -> list[Deployment]:
        """Return the deployments of a tool, or of all, newest first; with `before` those older than that one."""
        with self._database.read() as connection:
            return deployments(connection, tool_name, limit=limit, before=before)

    def previous_good(self, tool_name: str) -> int | None:
        """Return the version that a rollback of the live one would restore; None if there is none."""
        with self._database.read() as connection:
            now = live(connection, tool_name)
            return None if now is None else previous_good(connection, tool_name, now.version_number)

    @contextlib.contextmanager
    def held(self, tool_name: str) -> Iterator[Standing]:
        """Hold the tool's lock and return the tool's state; nothing goes live meanwhile."""
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            now_live = live(connection, tool_name)
            yield Standing(
                None if now_live is None else get(connection, tool_name, now_live.version_number),
                None if now_live is None else now_live.deployment_id,
                rollback_states.is_under_way(connection, tool_name),
                lambda sha256: find(connection, tool_name, sha256),
            )

    # --- changing --------------------------------------------------------------------------------------------------

    def add(
        self,
        tool_name: str,
        code: bytes,
        *,
        kind: str | None,
        created_by: str,
        reason: str | None,
        now: datetime,
        parent_version: int | None = None,
    ) -> Version:
        """Store a version without making it live. Code that is stored already is the same version.

        Args:
            kind: one of `KINDS`; None is `initial` for a tool's first version, else `improvement`.
            parent_version: the version it derives from; None is the live one.

        Raises:
            InvalidInput: the kind is unknown.
            UnknownVersion: there is no such parent.
        """
        checked_tool_name(tool_name)
        if kind is not None and kind not in KINDS:
            raise InvalidInput(f"kind: {kind!r} is not one of {', '.join(KINDS)}")
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            if parent_version is None:
                now_live = live(connection, tool_name)
                parent_version = now_live.version_number if now_live else None
            else:
                get(connection, tool_name, parent_version)
            return insert(
                connection,
                tool_name,
                code,
                kind=kind,
                created_by=created_by,
                reason=reason,
                parent_version=parent_version,
                now=now,
            )

    def go_live(
        self,
        tool_name: str,
        version_number: int,
        *,
        swap: Callable[[Version], None],
        deployed_by: str,
        reason: str | None,
        deployed_at: datetime,
        expected_live: int | None,
        force: bool = False,
        begin: Callable[[Connection, Deployment], None] | None = None,
        promotes: Rollout | None = None,
    ) -> Deployment:
        """Make a version live. The active session of the version before becomes `superseded`.

        Args:
            swap: puts the version's code where it is run; called inside the transaction, which fails with it.
            expected_live: the deployment that the caller saw live; None if it saw none.
            force: lift the quarantine of the version's code, if it has one.
            begin: starts the deployment's session, in the same transaction.
            promotes: the rollout that ends so, in the same transaction. Its session goes on.

        Raises:
            CodeQuarantined: the version's code was rolled back, and `force` is False.
            DeploymentConflict: something else went live in the meantime, or somebody else changed the rollout.
            UnknownVersion: there is no version of that number.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, tool_name)
            before = live(connection, tool_name)
            if (before.deployment_id if before else None) != expected_live:
                raise DeploymentConflict(
                    f"{tool_name}: version {before.version_number if before else None} went live in the meantime, "
                    f"so version {version_number} was not deployed; check it and deploy again if you still want to"
                )
            version = get(connection, tool_name, version_number)
            quarantine.refuse_or_lift(connection, version, force=force, by=deployed_by, now=deployed_at)
            after = move_pointer(
                connection,
                tool_name,
                version_number,
                at=deployed_at,
                by=deployed_by,
                reason=reason,
                ended_by="deployment",
            )
            if promotes is None:
                supersede(connection, tool_name, after, deployed_at)
            else:
                promote(connection, promotes, after)
            if begin is not None:
                begin(connection, after)
            swap(version)
            return after


# --- on a connection, for transactions that do more ------------------------------------------------------------------


def live(connection: Connection, tool_name: str) -> Deployment | None:
    """Return the tool's live deployment, None if it was never deployed."""
    row = connection.execute(
        sa.select(*_DEPLOYMENT).where(d.c.tool_name == tool_name, d.c.ended_at.is_(None))
    ).one_or_none()
    return None if row is None else Deployment(*row)


def deployments(
    connection: Connection, tool_name: str | None, *, limit: int | None = None, before: int | None = None
) -> list[Deployment]:
    """Return deployments like `Versions.deployments`."""
    query = sa.select(*_DEPLOYMENT).order_by(d.c.deployment_id.desc()).limit(limit)
    if tool_name is not None:
        query = query.where(d.c.tool_name == tool_name)
    if before is not None:
        query = query.where(d.c.deployment_id < before)
    return [Deployment(*row) for row in connection.execute(query)]


def previous_good(connection: Connection, tool_name: str, version_number: int) -> int | None:
    """Return the last version live before `version_number` that was not rolled back and is in no quarantine.

    One that was found regressed, and only observed, is returned only if there is no better one.
    """
    lives = deployments(connection, tool_name)
    never = {version_number, *quarantine.versions_in(connection, tool_name)}
    better = last_good(lives, not_one_of=never | regressed_versions(connection, tool_name))
    return last_good(lives, not_one_of=never) if better is None else better


def move_pointer(
    connection: Connection,
    tool_name: str,
    version_number: int,
    *,
    at: datetime,
    by: str,
    reason: str | None,
    ended_by: str,
    edit_began_at: datetime | None = None,
    release_id: int | None = None,
) -> Deployment:
    """End the live deployment, if there is one, and make `version_number` live. The caller holds the tool's lock.

    Args:
        ended_by: `deployment` or `rollback`; also the kind of the new deployment.
    """
    _end(connection, tool_name, at, ended_by)
    row = connection.execute(
        sa.insert(d)
        .values(
            tool_name=tool_name,
            version_number=version_number,
            deployed_at=at,
            deployed_by=by,
            reason=reason,
            kind=ended_by,
            edit_began_at=edit_began_at,
            release_id=release_id,
        )
        .returning(*_DEPLOYMENT)
    ).one()
    return Deployment(*row)


def withdraw(connection: Connection, tool_name: str, at: datetime) -> None:
    """End the live deployment of a tool that a release added. The caller holds the tool's lock."""
    _end(connection, tool_name, at, "rollback")


def _end(connection: Connection, tool_name: str, at: datetime, ended_by: str) -> None:
    connection.execute(
        sa.update(d).where(d.c.tool_name == tool_name, d.c.ended_at.is_(None)).values(ended_at=at, ended_by=ended_by)
    )
    notify(connection, tool_name)


def last_life_ended(connection: Connection, tool_name: str, version_number: int) -> datetime | None:
    """Return when a version was last live, but for its present life; None if it never was."""
    return connection.execute(
        sa.select(d.c.ended_at)
        .where(d.c.tool_name == tool_name, d.c.version_number == version_number, d.c.ended_at.is_not(None))
        .order_by(d.c.deployment_id.desc())
        .limit(1)
    ).scalar_one_or_none()


def get(connection: Connection, tool_name: str, version: int | str) -> Version:
    """Return one version, by its number or a label, or raise `UnknownVersion`."""
    number = (
        sa.select(t.c.version_number)
        .join(releases, releases.c.release_id == t.c.release_id)
        .where(t.c.tool_name == tool_name, releases.c.label == version)
        .scalar_subquery()
        if isinstance(version, str) and not version.isdecimal()
        else min(int(version), 2**31 - 1)
    )
    row = connection.execute(
        sa.select(*_VERSION).where(v.c.tool_name == tool_name, v.c.version_number == number)
    ).one_or_none()
    if row is None:
        numbers = sa.select(v.c.version_number).where(v.c.tool_name == tool_name).order_by(v.c.version_number)
        known = ", ".join(map(str, connection.scalars(numbers)))
        raise UnknownVersion(f"{tool_name} has no version {version}; it has {known or 'none'}")
    return Version(*row)


def find(connection: Connection, tool_name: str, sha256: str) -> Version | None:
    """Return the version with exactly this code, None if there is none."""
    row = connection.execute(sa.select(*_VERSION).where(v.c.tool_name == tool_name, v.c.sha256 == sha256)).one_or_none()
    return Version(*row) if row else None


def _has_versions(connection: Connection, tool_name: str) -> bool:
    """Return whether the tool has a version that is not just a file found in the folder."""
    made = sa.select(v.c.version_id).where(v.c.tool_name == tool_name, v.c.kind != "edit").limit(1)
    return connection.scalar(made) is not None


def insert(
    connection: Connection,
    tool_name: str,
    code: bytes,
    *,
    kind: str | None,
    created_by: str,
    reason: str | None,
    parent_version: int | None,
    now: datetime,
) -> Version:
    """Store a version like `Versions.add`. The caller holds the tool's lock."""
    sha256 = digest(code)
    known = find(connection, tool_name, sha256)
    if known is not None:
        return known
    newest = connection.scalar(sa.select(sa.func.max(v.c.version_number)).where(v.c.tool_name == tool_name)) or 0
    row = connection.execute(
        sa.insert(v)
        .values(
            tool_name=tool_name,
            version_number=newest + 1,
            code=code,
            sha256=sha256,
            kind=kind or ("improvement" if _has_versions(connection, tool_name) else "initial"),
            created_by=created_by,
            reason=reason,
            parent_version=parent_version,
            created_at=now,
        )
        .returning(*_VERSION)
    ).one()
    return Version(*row)
