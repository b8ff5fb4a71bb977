"""Stories of a rollout: `rollout` begins one, `rollout_back` ends one on evidence, `rollout_up` promotes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollguard import Rollguard
from tests.conftest import code

TOOL = "pay"


def prepare(story: str, guard: Rollguard) -> None:
    """A tool in its first version; but for `rollout`, the second one serves beside it, dead or good."""
    now = datetime.now(UTC)
    guard.deploy(TOOL, code(1, TOOL), deployed_at=now - timedelta(days=3), watch=False)
    if story == "rollout":
        return
    began = now - timedelta(hours=2)
    watch = guard.monitor.watch(TOOL, began, now=began)
    guard.registry.deploy(TOOL, code(2, TOOL), deployed_at=began, watch=watch, rollout=[0.5])
    guard.store.store_tool_executions(
        {
            **{"tool_name": TOOL, "success": new == 0 or story == "rollout_up", "duration_ms": 5.0},
            **{"executed_at": began + timedelta(seconds=2 * number + new), "version_number": 1 + new},
            **{"rollout_id": 1, "stage": 0, "arm": "new" if new else "old"},
        }
        for number in range(30)
        for new in (0, 1)
    )


def act(story: str, guard: Rollguard) -> None:
    """Begin the rollout, or check its session."""
    if story == "rollout":
        guard.deploy(TOOL, code(2, TOOL), rollout=[0.5])
        return
    guard.monitor.auto_rollback_if_needed(TOOL, guard.store.sessions.active(TOOL)[0].session_id)


def wrong(story: str, guard: Rollguard, folder: Path, told: Counter[str], *, returned: bool) -> Iterator[str]:
    """Return what does not hold: each step of a rollout happens once and whole, and processes draw by what is so."""
    store = guard.store
    life = store.versions.live(TOOL)
    live = life and life.version_number
    if (folder / "tools" / f"{TOOL}.py").read_bytes() != store.versions.get(TOOL, live or 0).code:
        yield f"version {live} is live, and the file holds something else"
    if store.rollbacks.open():
        yield "a rollback is still open"
    if store.outbox.undelivered():
        yield "somebody is not told"
    if any(count > 1 for count in told.values()):
        yield f"told {dict(told)}"
    rollouts = [(str(o.ramp.state), o.old_version, o.new_version) for o in store.rollouts.recent()]
    statuses = [(session.version_number, session.status) for session in store.sessions.recent()]
    rollbacks = [(r.state, r.from_version, r.to_version) for r in store.rollbacks.recent()]
    seen = (live, rollouts, statuses, rollbacks)
    expected: dict[str, list[object]] = {
        "rollout": [(1, [("ramping", 1, 2)], [(2, "active")], []), *([] if returned else [(1, [], [], [])])],
        "rollout_back": [(1, [("rolled_back", 1, 2)], [(2, "rolled_back")], [("finished", 2, 1)])],
        "rollout_up": [(2, [("promoted", 1, 2)], [(2, "active")], [])],
    }
    if seen not in expected[story]:
        yield f"found {seen}"
    if story == "rollout_back" and [held.version_number for held in store.quarantine.in_force()] != [2]:
        yield "its code is not in quarantine"
    if guard.registry.rolling.present() != store.rollouts.splits():
        yield "processes of this machine draw by something else"
