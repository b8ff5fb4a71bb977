"""Stories of a release: of three tools one is added; `release` makes them live, `release_back` rolls them back.

With `_package` they are in one package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollguard import Rollguard
from rollguard.compat import pack
from rollguard.registry.folder.folder import Folder
from tests.conftest import code

REGRESSED, WITH_IT, ADDED = "pay", "ship", "mail"


@dataclass(frozen=True)
class Tools:
    """Three tools, in a file each, or in one package."""

    in_package: bool

    @classmethod
    def of(cls, story: str) -> Tools:
        """The tools of a story."""
        return cls("package" in story)

    def name(self, tool: str) -> str:
        """The name under which a tool is known."""
        return f"shop/{tool}" if self.in_package else tool

    @property
    def before(self) -> dict[str, int | None]:
        """What is live before the release."""
        return {self.name(REGRESSED): 1, self.name(WITH_IT): 1, self.name(ADDED): None}

    @property
    def after(self) -> dict[str, int | None]:
        """What is live after it."""
        return {self.name(REGRESSED): 2, self.name(WITH_IT): 2, self.name(ADDED): 1}

    def release(self, guard: Rollguard, version: int, at: datetime | None = None, *, watch: bool = True) -> None:
        """Release a version; the second one has a tool more."""
        tools = (REGRESSED, WITH_IT, ADDED)[: version + 1]
        given: dict[str, str | bytes] = {tool: code(version, tool) for tool in tools}
        if self.in_package:
            modules = {
                f"{tool}.py": f"from rollguard import tool\n@tool\n{code(version, tool)}".encode() for tool in tools
            }
            modules["__init__.py"] = "".join(f"from .{tool} import {tool}\n" for tool in tools).encode()
            given = {"shop": pack(modules)}
        guard.release(f"v{version}", given, released_at=at, watch=watch)


def prepare(story: str, guard: Rollguard) -> None:
    """Two tools in their first version; to be rolled back, they are released in the second, and one regresses."""
    now, tools = datetime.now(UTC), Tools.of(story)
    if tools.in_package:
        tools.release(guard, 1, now - timedelta(days=3), watch=False)
    for tool in (REGRESSED, WITH_IT):
        if not tools.in_package:
            guard.deploy(tool, code(1, tool), deployed_at=now - timedelta(days=3), watch=False)
        _calls(guard, tools.name(tool), now - timedelta(days=2), failures=0)
    if story.endswith("_back"):
        tools.release(guard, 2, now - timedelta(hours=2))
        for tool in (REGRESSED, WITH_IT, ADDED):
            _calls(guard, tools.name(tool), now - timedelta(hours=1), failures=40 if tool == REGRESSED else 0)


def act(story: str, guard: Rollguard) -> None:
    """Release, or check the session of the tool that regressed."""
    tools = Tools.of(story)
    if not story.endswith("_back"):
        tools.release(guard, 2)
        return
    session = guard.store.sessions.active(tools.name(REGRESSED))[0]
    guard.monitor.auto_rollback_if_needed(tools.name(REGRESSED), session.session_id)


def wrong(story: str, guard: Rollguard, folder: Path, told: Counter[str], *, returned: bool) -> Iterator[str]:
    """Return what does not hold: a release is whole or not at all, and is rolled back whole, each tool once."""
    store, tools = guard.store, Tools.of(story)
    before, after = tools.before, tools.after
    lives = {tool: store.versions.live(tool) for tool in after}
    live = {tool: life and life.version_number for tool, life in lives.items()}
    released, known = live == after, store.releases.find("v2")
    if live not in (before, after):
        yield f"half a release is live: {live}"
    for tool, number in live.items():
        held = Folder(folder / "tools").read(tool)
        if held != (None if number is None else store.versions.get(tool, number).code):
            yield f"version {number} of {tool} is live, and the file holds {held!r}"
    if store.rollbacks.open():
        yield "a rollback is still open"
    if store.outbox.undelivered():
        yield "somebody is not told"
    statuses = {(session.tool_name, session.status) for session in store.sessions.recent()}
    rollbacks = {(r.tool_name, r.state, r.from_version, r.to_version) for r in store.rollbacks.recent()}
    if not story.endswith("_back"):
        if returned and not released:
            yield f"the release returned, and {live} is live"
        if statuses != ({(tool, "active") for tool in after} if released else set()) or rollbacks:
            yield f"{live} is live, sessions {statuses}, rollbacks {rollbacks}"
        if (known is not None) is not released:
            yield f"{live} is live, and the release is {known}"
        return
    quarantined = [held.tool_name for held in store.quarantine.in_force()]
    expected = {(tools.name(tool), "superseded") for tool in (WITH_IT, ADDED)} | {
        (tools.name(REGRESSED), "rolled_back")
    }
    if statuses != expected:
        yield f"sessions {statuses}"
    if rollbacks != {(tool, "finished", after[tool], before[tool]) for tool in after}:
        yield f"rollbacks {rollbacks}"
    if (quarantined, told["rolled_back"], known and known.state) != ([tools.name(REGRESSED)], 3, "rolled_back"):
        yield f"quarantined {quarantined}, told {dict(told)}, the release is {known}"


def _calls(guard: Rollguard, tool: str, start: datetime, *, failures: int) -> None:
    guard.store.store_tool_executions(
        {
            "tool_name": tool,
            "success": number >= failures,
            "duration_ms": 10.0,
            "executed_at": start + timedelta(seconds=number),
        }
        for number in range(60)
    )
