"""Stories of a release: of three tools one is added; `release` makes them live, `release_back` rolls them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollguard import Rollguard
from tests.conftest import code

REGRESSED, WITH_IT, ADDED = "pay", "ship", "mail"
TOOLS = (REGRESSED, WITH_IT, ADDED)
BEFORE, AFTER = {REGRESSED: 1, WITH_IT: 1, ADDED: None}, {REGRESSED: 2, WITH_IT: 2, ADDED: 1}


def prepare(story: str, guard: Rollguard) -> None:
    """Two tools in their first version; for `release_back` they are released in the second, and one regresses."""
    now = datetime.now(UTC)
    for tool in (REGRESSED, WITH_IT):
        guard.deploy(tool, code(1, tool), deployed_at=now - timedelta(days=3), watch=False)
        _calls(guard, tool, now - timedelta(days=2), failures=0)
    if story == "release_back":
        release(guard, now - timedelta(hours=2))
        for tool in TOOLS:
            _calls(guard, tool, now - timedelta(hours=1), failures=40 if tool == REGRESSED else 0)


def release(guard: Rollguard, at: datetime | None = None) -> None:
    """Release the second version of two tools, and a third tool."""
    guard.release("v2", {tool: code(2, tool) for tool in TOOLS}, released_at=at)


def act(story: str, guard: Rollguard) -> None:
    """Release, or check the session of the tool that regressed."""
    if story == "release":
        release(guard)
        return
    session = guard.store.sessions.active(REGRESSED)[0]
    guard.monitor.auto_rollback_if_needed(REGRESSED, session.session_id)


def wrong(story: str, guard: Rollguard, folder: Path, told: Counter[str], *, returned: bool) -> Iterator[str]:
    """Return what does not hold: a release is whole or not at all, and is rolled back whole, each tool once."""
    store = guard.store
    lives = {tool: store.versions.live(tool) for tool in TOOLS}
    live = {tool: life and life.version_number for tool, life in lives.items()}
    released, known = live == AFTER, store.releases.find("v2")
    if live not in (BEFORE, AFTER):
        yield f"half a release is live: {live}"
    for tool, number in live.items():
        file = folder / "tools" / f"{tool}.py"
        held = file.read_bytes() if file.exists() else None
        if held != (None if number is None else store.versions.get(tool, number).code):
            yield f"version {number} of {tool} is live, and the file holds {held!r}"
    if store.rollbacks.open():
        yield "a rollback is still open"
    if store.outbox.undelivered():
        yield "somebody is not told"
    statuses = {(session.tool_name, session.status) for session in store.sessions.recent()}
    rollbacks = {(r.tool_name, r.state, r.from_version, r.to_version) for r in store.rollbacks.recent()}
    if story == "release":
        if returned and not released:
            yield f"the release returned, and {live} is live"
        if statuses != ({(tool, "active") for tool in TOOLS} if released else set()) or rollbacks:
            yield f"{live} is live, sessions {statuses}, rollbacks {rollbacks}"
        if (known is not None) is not released:
            yield f"{live} is live, and the release is {known}"
        return
    quarantined = [held.tool_name for held in store.quarantine.in_force()]
    if statuses != {(REGRESSED, "rolled_back"), (WITH_IT, "superseded"), (ADDED, "superseded")}:
        yield f"sessions {statuses}"
    if rollbacks != {(tool, "finished", AFTER[tool], BEFORE[tool]) for tool in TOOLS}:
        yield f"rollbacks {rollbacks}"
    if (quarantined, told["rolled_back"], known and known.state) != ([REGRESSED], 3, "rolled_back"):
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
