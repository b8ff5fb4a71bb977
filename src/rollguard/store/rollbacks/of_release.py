"""The claim of a release's rollback: one row for each of its tools, in one transaction. docs/decisions/0014."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.names import may_share_a_file
from rollguard.model.release import Release, ReleasedTool
from rollguard.model.version import Deployment
from rollguard.store import rollback_states
from rollguard.store.rollbacks.claim import Decision, Intention
from rollguard.store.schema import deployment_health_checks as c
from rollguard.store.schema import deployment_monitoring as m
from rollguard.store.schema import release_tools as t
from rollguard.store.schema import releases as x
from rollguard.store.schema import tool_deployments as d
from rollguard.store.schema import tool_versions as v
from rollguard.store.versions import releases, versions

_mine, _theirs, _live = d.alias("mine"), d.alias("theirs"), v.alias("live")
_TOGETHER = (
    sa.select(_theirs.c.tool_name, _theirs.c.version_number)
    .select_from(_mine)
    .join(v, (v.c.tool_name == _mine.c.tool_name) & (v.c.version_number == _mine.c.version_number))
    .join(_live, (_live.c.sha256 == v.c.sha256) & (_live.c.tool_name != v.c.tool_name))
    .join(_theirs, (_theirs.c.tool_name == _live.c.tool_name) & (_theirs.c.version_number == _live.c.version_number))
    .where(_mine.c.tool_name == sa.bindparam("name"), _mine.c.ended_at.is_(None), _theirs.c.ended_at.is_(None))
    .order_by(_theirs.c.tool_name)
)

PROGRAM = "program"
"""What restores the functions of a program: each process of it does, by the live pointer."""

_LATEST = (
    sa.select(m.c.session_id, c.c.needs_rollback, c.c.success_rate_drop, c.c.regression_severity, c.c.reasons)
    .outerjoin(c, sa.and_(c.c.session_id == m.c.session_id, c.c.verdict != "error"))
    .where(m.c.tool_name == sa.bindparam("name"), m.c.status == "active")
    .order_by(c.c.checked_at.desc(), c.c.check_id.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Extent:
    """What the rollback of a release comprises.

    Attributes:
        release: the release; None if only the tools of one file or package go back.
        others: the rollbacks of the other tools, without that of the tool that called for it.
        left: sentences on tools that stay as they are.
    """

    release: Release | None = None
    others: list[tuple[Intention, Decision]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def says(self) -> str:
        """Return what becomes of the other tools."""
        names = ", ".join(intention.tool_name for intention, _ in self.others)
        if self.release is None:
            return f"its file goes back as one, with it {names}" if names else ""
        parts = [f"release {self.release.label} is rolled back" + (f" as one, with it {names}" if names else "")]
        return "; ".join(parts + ([f"left as they are: {', '.join(self.left)}"] if self.left else []))


def names_of(connection: Connection, release_id: int) -> set[str]:
    """Return the tools that a release changed."""
    return {tool.tool_name for tool in releases.tools_of(connection, release_id) if tool.changed}


def together_with(connection: Connection, tool_name: str) -> dict[str, int]:
    """Return the other live tools of the tool's file or package, with their versions: the code is the same."""
    return {
        row.tool_name: row.version_number
        for row in connection.execute(_TOGETHER, {"name": tool_name})
        if may_share_a_file(tool_name, row.tool_name)
    }


def actuator_in(
    connection: Connection, actuator_of: Callable[[str], str], tool_name: str, version_number: int | None
) -> str:
    """Return what restores a tool: each process of its program, if the live version is a function of one."""
    of_a_program = sa.exists().where(
        t.c.tool_name == tool_name,
        t.c.version_number == version_number,
        t.c.release_id == x.c.release_id,
        x.c.kind == PROGRAM,
    )
    return PROGRAM if connection.scalar(sa.select(of_a_program)) else actuator_of(tool_name)


def extent_of(connection: Connection, cause: Intention, decision: Decision | None = None) -> Extent:
    """Return what else is rolled back with the tool that calls for it. The caller holds the locks of all tools.

    Args:
        cause: names the release, if it has one; for a release that a person rolls back its `tool_name` is empty.
        decision: what becomes of the tool that calls for it.
    """
    going = [] if decision is None else [(cause, decision)]
    extent = Extent()
    if cause.release_id is not None:
        extent = _of_release(connection, cause, releases.of_id(connection, cause.release_id), going)
    for intention, decided in [*going, *extent.others]:
        _add_together(connection, extent, intention, decided, known={cause.tool_name})
    return extent


def _of_release(
    connection: Connection, cause: Intention, release: Release, going: list[tuple[Intention, Decision]]
) -> Extent:
    extent = Extent(release)
    for tool in releases.tools_of(connection, release.release_id):
        if not tool.changed or tool.tool_name == cause.tool_name:
            continue
        if rollback_states.is_under_way(connection, tool.tool_name):
            continue
        live = versions.live(connection, tool.tool_name)
        if live is None or live.release_id != release.release_id:
            extent.left.append(f"{tool.tool_name} ({_whose(live)})")
            continue
        to_version, why = way_back(connection, release, tool)
        to_version = _same_code(connection, [*going, *extent.others], tool, to_version)
        if why is not None:
            extent.left.append(f"{tool.tool_name} ({why})")
            continue
        extent.others.append(
            (_with_it(connection, cause, release, tool), Decision("claimed", tool.version_number, to_version))
        )
    return extent


def _same_code(
    connection: Connection, going: list[tuple[Intention, Decision]], tool: ReleasedTool, to_version: int | None
) -> int | None:
    """Return the version to restore: the one with the code that another tool of the same file or package gets."""
    sha256 = versions.get(connection, tool.tool_name, tool.version_number).sha256
    for intention, decision in going:
        name = intention.tool_name
        if to_version is None or decision.to_version is None or not may_share_a_file(name, tool.tool_name):
            continue
        if versions.get(connection, name, decision.from_version or 0).sha256 == sha256:
            wanted = versions.get(connection, name, decision.to_version)
            same = versions.find(connection, tool.tool_name, wanted.sha256)
            return to_version if same is None else same.version_number
    return to_version


def _add_together(
    connection: Connection, extent: Extent, cause: Intention, decision: Decision, *, known: set[str]
) -> None:
    """Add the live tools of the same file or package, which goes back as one, to what is rolled back."""
    known = known | {intention.tool_name for intention, _ in extent.others}
    for name, number in together_with(connection, cause.tool_name).items():
        if name in known or rollback_states.is_under_way(connection, name) or decision.to_version is None:
            continue
        wanted = versions.get(connection, cause.tool_name, decision.to_version)
        same = versions.find(connection, name, wanted.sha256)
        if same is None:
            extent.left.append(f"{name} (the earlier code does not hold it)")
            continue
        because = f"{cause.tool_name} goes back, and is in the same file or package: {cause.reason}"
        plain = _without_blame(cause, name, number, because)
        extent.others.append((plain, Decision("claimed", number, same.version_number)))


def way_back(connection: Connection, release: Release, tool: ReleasedTool) -> tuple[int | None, str | None]:
    """Return the version that a rollback of the release restores, and why there is none.

    Without both, the release added the tool, which is withdrawn.
    """
    if not tool.way_back:
        return None, f"a function of a program without a previous one; put the image from before {release.label} back"
    to_version = versions.previous_good(connection, tool.tool_name, tool.version_number)
    if tool.before_version is None:
        return None, None
    return to_version, None if to_version is not None else "it has no earlier good version"


def of_cause(connection: Connection, cause: Intention) -> dict[str, Any]:
    """Return what `decide` has to know of the release of the tool that calls for a rollback."""
    if cause.rollout_id is not None:
        return {}  # the version before it serves
    live = versions.live(connection, cause.tool_name)
    release_id = cause.release_id if live is None or cause.release_id is not None else live.release_id
    if release_id is None:
        return {}
    release = releases.of_id(connection, release_id)
    for tool in releases.tools_of(connection, release.release_id):
        if tool.tool_name == cause.tool_name:
            why = None if tool.way_back else way_back(connection, release, tool)[1]
            added = tool.before_version is None and tool.way_back and cause.to_version is None
            return {"withdraws": added and cause.release_id is not None, "no_way_back": why or ""}
    return {}


def _whose(live: Deployment | None) -> str:
    if live is None:
        return "it was withdrawn since"
    return f"version {live.version_number} is live since, by {live.deployed_by}"


def _with_it(connection: Connection, cause: Intention, release: Release, tool: ReleasedTool) -> Intention:
    """Return the rollback of a tool that is not the cause; of one that regressed as well, with its session."""
    row = connection.execute(_LATEST, {"name": tool.tool_name}).one_or_none()
    because = f"{cause.tool_name} regressed" if cause.tool_name else cause.reason
    reason = f"release {release.label} is rolled back as one: {because}"
    plain = _without_blame(cause, tool.tool_name, tool.version_number, reason)
    if row is None or not (cause.manual or row.needs_rollback):
        return plain
    return replace(plain, session_id=row.session_id, **({} if cause.manual else _blamed(row)))


def _without_blame(cause: Intention, tool_name: str, version_number: int, reason: str) -> Intention:
    return replace(
        cause,
        tool_name=tool_name,
        session_id=None,
        from_version=version_number,
        to_version=None,
        reason=reason,
        success_rate_drop=None,
        regression_severity=None,
        quarantine=bool(cause.quarantine) if cause.manual else False,
    )


def _blamed(row: Any) -> dict[str, Any]:
    reason = row.reasons[0] if isinstance(row.reasons, list) and row.reasons else "it regressed as well"
    return {
        "reason": reason,
        "success_rate_drop": row.success_rate_drop,
        "regression_severity": row.regression_severity,
        "quarantine": True,
    }
