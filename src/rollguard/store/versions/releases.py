"""Releases: tools that go live together, in one transaction. The rollback of a release is in `rollbacks`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import DeploymentConflict, ReleaseConflict, UnknownVersion
from rollguard.model.release import Release, ReleasedTool, checked_label, checked_metadata
from rollguard.model.rollout import CANARY
from rollguard.model.version import Deployment, Version
from rollguard.store import rollout_states
from rollguard.store.database.engine import Database
from rollguard.store.monitoring import sessions
from rollguard.store.monitoring.rows import columns_of, session_of
from rollguard.store.monitoring.starting import changed_tools
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import release_tools as t
from rollguard.store.schema import releases as x
from rollguard.store.schema import tool_deployments as d
from rollguard.store.versions import quarantine, versions
from rollguard.store.versions.superseding import supersede


@dataclass(frozen=True, slots=True)
class NewRelease:
    """A release that is about to go live.

    Attributes:
        label: names it; unique in the store.
        by: who releases it.
        kind: `tools`, or the functions of a `program`.

    Raises:
        InvalidInput: the label or the metadata is invalid.
    """

    label: str
    by: str
    reason: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    kind: str = "tools"

    def __post_init__(self) -> None:
        checked_label(self.label)
        object.__setattr__(self, "metadata", checked_metadata(self.metadata))


@dataclass(frozen=True, slots=True)
class Part:
    """One tool of a new release.

    Attributes:
        version: the version to make live; live already, it is unchanged.
        live: the deployment that the caller saw live; None if it saw none.
        adopts: the live version is an edit in the folder that belongs to the release.
        way_back: whether a rollback can put an earlier version in its place.
        begin: starts the deployment's session.
    """

    version: Version
    live: Deployment | None
    adopts: bool = False
    way_back: bool = True
    begin: Callable[[Connection, Deployment], None] | None = None

    @property
    def goes_live(self) -> bool:
        """Return whether the release makes the version live."""
        return self.live is None or self.live.version_number != self.version.version_number


class Releases:
    """The tables `releases` and `release_tools`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---------------------------------------------------------------------------------------------------

    def find(self, label: str) -> Release | None:
        """Return the release with this label; None if there is none."""
        with self._database.read() as connection:
            return _find(connection, x.c.label == label)

    def get(self, label: str | int) -> Release:
        """Return a release, by its label or its id.

        Raises:
            UnknownVersion: there is no such release.
        """
        with self._database.read() as connection:
            found = _find(connection, (x.c.label if isinstance(label, str) else x.c.release_id) == label)
        if found is None:
            raise UnknownVersion(f"there is no release {label}; list the releases with: rollguard releases")
        return found

    def recent(self, limit: int | None = None, *, before: int | None = None) -> list[Release]:
        """Return releases, newest first; with `before` those older than that one."""
        query = _RELEASES if before is None else _RELEASES.where(x.c.release_id < before)
        with self._database.read() as connection:
            return [_release(row) for row in connection.execute(query.limit(limit))]

    def latest_with(self, tool_name: str, key: str) -> tuple[Release, ReleasedTool] | None:
        """Return the tool's latest release whose metadata has a key; None if there is none."""
        query = (sa.select(x, t).join(t, t.c.release_id == x.c.release_id).where(t.c.tool_name == tool_name)).order_by(
            x.c.release_id.desc()
        )
        with self._database.read() as connection:
            for row in connection.execute(query):
                if key in (row.metadata or {}):
                    return _release(row), _tool(row)
        return None

    def tools(self, release_id: int) -> list[ReleasedTool]:
        """Return the tools of a release, by name."""
        with self._database.read() as connection:
            return tools_of(connection, release_id)

    def rolled_back(self, release_id: int) -> dict[str, int | None]:
        """Return, for each tool of a release that was rolled back, the version that was live before the release."""
        undone = (
            sa.select(t.c.tool_name, t.c.before_version)
            .join(d, sa.and_(d.c.release_id == t.c.release_id, d.c.tool_name == t.c.tool_name))
            .where(t.c.release_id == release_id, d.c.ended_by == "rollback")
        )
        with self._database.read() as connection:
            return {row.tool_name: row.before_version for row in connection.execute(undone)}

    def of_programs(self) -> set[tuple[str, int]]:
        """Return the versions, with their tools' names, that are functions of a program, so that no file has them."""
        query = sa.select(t.c.tool_name, t.c.version_number, t.c.before_version).join(
            x, sa.and_(x.c.release_id == t.c.release_id, x.c.kind == "program")
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {(row.tool_name, n) for row in rows for n in (row.version_number, row.before_version) if n is not None}

    def labels(self, tool_name: str) -> dict[int, tuple[str, ...]]:
        """Return the labels of the tool's versions, the oldest first, by the version's number."""
        query = (
            sa.select(t.c.version_number, x.c.label)
            .join(x, x.c.release_id == t.c.release_id)
            .where(t.c.tool_name == tool_name)
            .order_by(x.c.release_id)
        )
        found: dict[int, tuple[str, ...]] = {}
        with self._database.read() as connection:
            for number, label in connection.execute(query):
                found[number] = (*found.get(number, ()), label)
        return found

    # --- changing --------------------------------------------------------------------------------------------------

    def go_live(
        self,
        new: NewRelease,
        parts: Sequence[Part],
        *,
        swap: Callable[[Version], None],
        force: bool,
        at: datetime,
        replace_rollouts: bool = False,
    ) -> tuple[Release, dict[str, Deployment] | None]:
        """Make the tools of a release live, all of them or none. Sessions of the versions before end.

        Args:
            swap: puts a version's code where it is run; the last act of the transaction, which fails with it.
            force: lift the quarantine of code that has one.
            replace_rollouts: end the rollouts of its tools; by default a release that holds one is refused.

        Returns:
            The release, and its deployments by tool; None instead of them if the label was released already.

        Raises:
            ReleaseConflict: the label names a release of other tools or code, or a tool is under rollout.
            CodeQuarantined: code was rolled back, and `force` is False.
            DeploymentConflict: something else went live in the meantime.
        """
        with self._database.write() as connection:
            self._database.lock_tool(connection, f"release {new.label}")  # before the tools' locks, as everywhere
            already = _find(connection, x.c.label == new.label)
            if already is not None:
                refuse_other(already, tools_of(connection, already.release_id), [part.version for part in parts])
                return already, None
            for name in sorted(part.version.tool_name for part in parts):
                self._database.lock_tool(connection, name)
            for part in parts:
                _end_rollout(connection, new, part.version.tool_name, replace_rollouts, at)
            release = _insert(connection, new, at)
            for part in parts:
                _refuse_moved(connection, part)
                _add(connection, release.release_id, part)
            made = {part.version.tool_name: _live(connection, new, release, part, force, at) for part in parts}
            for part in parts:
                if part.goes_live:
                    swap(part.version)
            return release, {name: deployment for name, deployment in made.items() if deployment is not None}


# --- on a connection, for transactions that do more ------------------------------------------------------------------


def tools_of(connection: Connection, release_id: int) -> list[ReleasedTool]:
    """Return the tools of a release, by name."""
    rows = connection.execute(sa.select(t).where(t.c.release_id == release_id).order_by(t.c.tool_name))
    return [_tool(row) for row in rows]


def of_id(connection: Connection, release_id: int) -> Release:
    """Return one release."""
    found = _find(connection, x.c.release_id == release_id)
    if found is None:
        raise UnknownVersion(f"there is no release {release_id}; list the releases with: rollguard releases")
    return found


def roll_back(connection: Connection, release_id: int) -> None:
    """Record the decision to roll a release back."""
    connection.execute(sa.update(x).where(x.c.release_id == release_id).values(state="rolled_back"))


def refuse_other(release: Release, known: Sequence[ReleasedTool], given: Sequence[Version]) -> None:
    """Raise `ReleaseConflict` if a label that was released is given for other tools or other code."""
    versions_known = {tool.tool_name: tool.version_number for tool in known}
    other = sorted(v.tool_name for v in given if versions_known.get(v.tool_name) != v.version_number)
    gone = sorted(versions_known.keys() - {v.tool_name for v in given})
    if other or gone:
        raise ReleaseConflict(
            f"{release.label} was released at {release.released_at:%Y-%m-%d %H:%M} UTC with other code of "
            f"{', '.join(other or gone)}; give another label"
        )


def _insert(connection: Connection, new: NewRelease, at: datetime) -> Release:
    values = {"label": new.label, "kind": new.kind, "metadata": new.metadata, "reason": new.reason}
    statement = sa.insert(x).values(**values, created_by=new.by, released_at=at).returning(x)
    return _release(connection.execute(statement).one())


def _add(connection: Connection, release_id: int, part: Part) -> None:
    name, live = part.version.tool_name, part.live
    before = live.version_number if live else None
    if part.adopts:
        before = versions.previous_good(connection, name, part.version.version_number)
    connection.execute(
        sa.insert(t).values(
            release_id=release_id,
            tool_name=name,
            version_number=part.version.version_number,
            before_version=before,
            changed=part.goes_live or part.adopts,
            way_back=part.way_back,
        )
    )


def _refuse_moved(connection: Connection, part: Part) -> None:
    name = part.version.tool_name
    live = versions.live(connection, name)
    if (live and live.deployment_id) != (part.live and part.live.deployment_id):
        raise DeploymentConflict(
            f"{name}: version {live.version_number if live else None} went live in the meantime, so nothing was "
            "released; check it and release again if you still want to"
        )


def _end_rollout(connection: Connection, new: NewRelease, tool_name: str, replaces: bool, at: datetime) -> None:
    """End the rollout of a tool of a release, and its session, or refuse the release."""
    known = rollout_states.open_of(connection, tool_name)
    if known is None:
        return
    if not replaces and known.kind == CANARY:
        raise rollout_states.under_way(known)
    why = f"release {new.label} took its place"
    rollout_states.end_of_tool(connection, tool_name, at=at, by=new.by, why=why)
    sessions.close(connection, known.session_id, at, status="superseded", notes=why)


def _live(
    connection: Connection, new: NewRelease, release: Release, part: Part, force: bool, at: datetime
) -> Deployment | None:
    name = part.version.tool_name
    if part.adopts and part.live is not None:
        _adopt(connection, release.release_id, part, part.live)
        return part.live
    if not part.goes_live:
        return None
    quarantine.refuse_or_lift(connection, part.version, force=force, by=new.by, now=at)
    after = versions.move_pointer(
        connection,
        name,
        part.version.version_number,
        at=at,
        by=new.by,
        reason=new.reason,
        ended_by="deployment",
        release_id=release.release_id,
    )
    supersede(connection, name, after, at)
    if part.begin is not None:
        part.begin(connection, after)
    return after


def _adopt(connection: Connection, release_id: int, part: Part, live: Deployment) -> None:
    """Let an edit in the folder, and its session, belong to a release. The session goes on, by the release's rules."""
    connection.execute(sa.update(d).where(d.c.deployment_id == live.deployment_id).values(release_id=release_id))
    mine = sa.and_(m.c.tool_name == live.tool_name, m.c.status == "active")
    row = connection.execute(sa.select(m).where(mine)).one_or_none()
    if row is not None and row.version_number == live.version_number:
        session = session_of(row)
        rules = session.rules.of_release(changed_tools(connection, release_id))
        connection.execute(sa.update(m).where(mine).values(release_id=release_id, **columns_of(rules)))
    elif part.begin is not None:
        part.begin(connection, live)


# --- rows ------------------------------------------------------------------------------------------------------------

_RELEASES = sa.select(x).order_by(x.c.release_id.desc())


def _find(connection: Connection, which: sa.ColumnElement[bool]) -> Release | None:
    row = connection.execute(sa.select(x).where(which)).one_or_none()
    return None if row is None else _release(row)


def _release(row: Row[Any]) -> Release:
    values = {name: getattr(row, name) for name in Release.__dataclass_fields__}
    return Release(**{**values, "metadata": values["metadata"] if isinstance(values["metadata"], dict) else {}})


def _tool(row: Row[Any]) -> ReleasedTool:
    return ReleasedTool(**{name: getattr(row, name) for name in ReleasedTool.__dataclass_fields__})
