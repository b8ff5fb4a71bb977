"""What is done while it is struck, what is done afterwards, and what must hold then, whatever happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rollguard import AutonomousLoop, DeploymentMonitor, Rollguard, ToolRegistry
from rollguard.errors import StoreBusy
from rollguard.settings import NotifySettings, RecordSettings, Settings
from rollguard.store.schema import notifications
from tests.conftest import code
from tests.faults import improvement_stories, release_stories, rollout_stories
from tests.faults.tracer import Outside, Tracer

TOOL = "pay"
LATER = timedelta(hours=2)  # when the next cycle is, so that every lease and every pause is over
STORIES = ("deploy", "deploy_first", "deploy_over_edit", "auto", "auto_cancelled", "manual", "deploy_out", "auto_out")
STORIES += ("release", "release_back", "release_package", "release_package_back", "improve")
ROLLOUTS = ("rollout", "rollout_back", "rollout_up")
LONG = ("release_package", "release_package_back", "improve")  # among many strides alone
EDITED = b"def pay(x: int = 0) -> int:\n    return x + 77  # by hand\n"
_GOOD = ("deploy", "deploy_over_edit", "manual", "deploy_out")  # the version that is live is healthy


def opened(story: str, url: str, folder: Path, tracer: Tracer | None = None, *, busy_timeout: float = 5.0) -> Rollguard:
    """The system, as a process opens it."""
    guard = Rollguard(
        Settings(
            database=url,
            tools_dir=folder / "tools",
            record=RecordSettings(busy_timeout_seconds=busy_timeout),
            notify=NotifySettings(log=True),
        )
    )
    if story.endswith("_out"):
        actuators = {TOOL: Outside(folder / "outside.log", tracer)}
        guard.registry = ToolRegistry(folder / "tools", store=guard.store, actuators=actuators)
        guard.monitor = DeploymentMonitor(guard.store, guard.registry)
        guard.loop = AutonomousLoop(guard.monitor)
    return guard


def prepare(story: str, url: str, folder: Path) -> None:
    """A tool in its second version, healthy or not, under watch."""
    now = datetime.now(UTC)
    with opened(story, url, folder) as guard:
        if story.startswith("release"):
            release_stories.prepare(story, guard)
            return
        if story.startswith("rollout"):
            rollout_stories.prepare(story, guard)
            return
        if story == "improve":
            improvement_stories.prepare(guard)
            return
        if story == "deploy_first":
            return
        guard.deploy(TOOL, code(1, TOOL), deployed_at=now - timedelta(days=3), watch=False)
        _calls(guard, now - timedelta(days=2), failures=0)
        since = now - timedelta(hours=2)
        guard.registry.deploy(TOOL, code(2, TOOL), deployed_at=since)
        guard.monitor.start_monitoring(TOOL, since, now=since)
        _calls(guard, now - timedelta(hours=1), failures=0 if story in _GOOD else 20)
        if story == "deploy_over_edit":
            (folder / "tools" / f"{TOOL}.py").write_bytes(EDITED)


def act(story: str, guard: Rollguard) -> None:
    """What is struck."""
    if story.startswith("release"):
        release_stories.act(story, guard)
    elif story.startswith("rollout"):
        rollout_stories.act(story, guard)
    elif story == "improve":
        improvement_stories.act(guard)
    elif story.startswith("deploy"):
        guard.deploy(TOOL, code(3, TOOL), reason="because")
    elif story == "manual":
        guard.monitor.roll_back(TOOL, reason="by hand")
    else:
        guard.monitor.auto_rollback_if_needed(TOOL, 1)


def recover(story: str, guard: Rollguard) -> None:
    """What happens by itself afterwards; or, where a person cancels, before that."""
    if story == "auto_cancelled":
        for session in guard.monitor.get_active_sessions():
            guard.monitor.cancel_monitoring(session.session_id)
    if story == "improve":
        improvement_stories.recover(guard, datetime.now(UTC) + LATER)
    asyncio.run(guard.loop.check_deployment_health(now=datetime.now(UTC) + LATER))


def wrong(story: str, guard: Rollguard, folder: Path, *, killed: bool, returned: bool) -> Iterator[str]:
    """What does not hold, of all that must."""
    store = guard.store
    if story.startswith("release"):
        yield from release_stories.wrong(story, guard, folder, _told(guard), returned=returned)
        yield from _left(folder)
        return
    if story.startswith("rollout"):
        yield from rollout_stories.wrong(story, guard, folder, _told(guard), returned=returned)
        yield from _left(folder)
        return
    if story == "improve":
        yield from improvement_stories.wrong(guard, folder, _told(guard), killed=killed, returned=returned)
        yield from _left(folder)
        return
    deployed = store.versions.live(TOOL)
    live = deployed.version_number if deployed else None
    history = {v.version_number: v.code for v in store.versions.history(TOOL)}
    file = folder / "tools" / f"{TOOL}.py"
    held = file.read_bytes() if file.exists() else None
    if story.endswith("_out"):
        if Outside(folder / "outside.log", None).running() != live:
            yield f"version {live} is live, and another runs outside"
        if store.actuations.unsettled():
            yield "what runs outside is not settled"
    elif held != (EDITED if story == "deploy_over_edit" and live == 2 else history.get(live or 0)):
        yield f"version {live} is live, and the file holds {held!r}"
    yield from _left(folder)
    if sorted(history) != list(range(1, len(history) + 1)):
        yield f"versions {sorted(history)}"
    if story == "deploy_over_edit" and EDITED not in history.values() and live != 2:
        yield "the edit by hand is lost"
    if store.rollbacks.open():
        yield "a rollback is still open"
    if store.outbox.undelivered():
        yield "somebody is not told"
    sessions = {s.session_id: (s.version_number, s.status) for s in store.sessions.recent()}
    rollbacks = [(r.state, r.from_version, r.to_version) for r in store.rollbacks.recent()]
    told = _told(guard)
    quarantined = [held.version_number for held in store.quarantine.in_force()]
    if any(count > 1 for count in told.values()) or (killed and told["rollback_failed"]):
        yield f"told {dict(told)}"
    if story.startswith("deploy"):
        yield from _deployed(story, live, sessions, rollbacks, history, returned=returned)
    else:
        yield from _rolled_back(story, live, sessions, rollbacks, told, quarantined, killed=killed, returned=returned)


def interfere(story: str, url: str, folder: Path) -> int | None:
    """A person deploys while a process stands still; the version, or None where the database is locked by it."""
    with opened(story, url, folder, busy_timeout=0.2 if url.startswith("sqlite") else 5.0) as guard:
        try:
            return guard.deploy(TOOL, code(8, TOOL), reason="a person").version_number
        except StoreBusy:
            return None


def wrong_after_a_stop(story: str, guard: Rollguard, folder: Path, deployed: int | None) -> Iterator[str]:
    """What does not hold, of all that must, when a process goes on late that wanted to roll back."""
    live = guard.store.versions.live(TOOL)
    assert live is not None
    if deployed is not None and live.version_number != deployed:
        yield f"a person deployed version {deployed}, and {live.version_number} is live"
    if story.endswith("_out"):
        runs = Outside(folder / "outside.log", None).running(heedless=True)
        if runs != live.version_number:
            yield f"version {live.version_number} is live, and {runs} runs outside"
        if guard.store.actuations.unsettled():
            yield "what runs outside is not settled"
    else:
        held = (folder / "tools" / f"{TOOL}.py").read_bytes()
        if held != guard.store.versions.get(TOOL, live.version_number).code:
            yield f"version {live.version_number} is live, and the file holds {held!r}"
    yield from _left(folder)
    if guard.store.rollbacks.open():
        yield "a rollback is still open"
    if guard.store.outbox.undelivered():
        yield "somebody is not told"
    finished = [r for r in guard.store.rollbacks.recent() if r.state == "finished"]
    if len(finished) > 1 or _told(guard)["rolled_back"] != len(finished):
        yield f"{len(finished)} rollbacks, told {dict(_told(guard))}"


def afterwards(guard: Rollguard, *, out: bool) -> Iterator[str]:
    """The next deployment and the next call work."""
    done = guard.deploy(TOOL, code(9, TOOL))
    if done.session_id is None or guard.monitor.get_session(done.session_id).version_number != done.version_number:
        yield f"the next deployment is not watched: {done}"
    if not out and (answer := guard.registry.call(TOOL, x=1)) != 10:
        yield f"the next call answers {answer}"
    guard.registry.recorder.flush()


def _deployed(
    story: str,
    live: int | None,
    sessions: dict[int, tuple[int | None, str]],
    rollbacks: list[Any],
    history: dict[int, bytes],
    *,
    returned: bool,
) -> Iterator[str]:
    first = story == "deploy_first"
    new = 1 if first else 4 if EDITED in history.values() and history.get(3) == EDITED else 3
    is_new = live is not None and history[live] == code(3, TOOL).encode()
    before = {} if first else {1: (2, "superseded" if is_new else "active")}
    expected = {**before, **({len(before) + 1: (new, "active")} if is_new else {})}
    if sessions != expected:
        yield f"version {live} is live, sessions {sessions}, expected {expected}"
    if returned and not is_new:
        yield f"the deployment returned, and version {live} is live"
    if not is_new and live != (None if first else 2):
        yield f"version {live} is live"
    if rollbacks:
        yield f"rollbacks {rollbacks}"


def _rolled_back(
    story: str,
    live: int | None,
    sessions: dict[int, tuple[int | None, str]],
    rollbacks: list[Any],
    told: Counter[str],
    quarantined: list[int],
    *,
    killed: bool,
    returned: bool,
) -> Iterator[str]:
    done = rollbacks == [("finished", 2, 1)]
    seen = (live, sessions, told["rolled_back"], quarantined)
    if done:
        if seen != (1, {1: (2, "rolled_back")}, 1, [] if story == "manual" else [2]):
            yield f"rolled back, and {seen}"
        return
    if story.startswith("auto") and story != "auto_cancelled":
        yield f"not rolled back: {rollbacks}, {seen}"
    if seen != (2, {1: (2, "cancelled" if story == "auto_cancelled" else "active")}, 0, []):
        yield f"not rolled back, and {seen}"
    states = {state for state, *_ in rollbacks}
    if len(rollbacks) > 1 or not states <= {"overtaken", *(() if killed else ("failed",))}:
        yield f"rollbacks {rollbacks}"
    if killed and returned:
        yield "it returned, and nothing was rolled back"


def _told(guard: Rollguard) -> Counter[str]:
    with guard.store.database.read() as connection:
        return Counter(event["kind"] for event in connection.scalars(sa.select(notifications.c.event)))


def _left(folder: Path) -> Iterator[str]:
    found = [p.name for p in (folder / "tools").glob(".rollguard*") if p.name[10:11] in "-." and p.is_file()]
    if found:
        yield f"left in the folder: {found}"


def _calls(guard: Rollguard, start: datetime, *, failures: int) -> None:
    guard.store.store_tool_executions(
        {
            "tool_name": TOOL,
            "success": number >= failures,
            "duration_ms": 10.0,
            "executed_at": start + timedelta(seconds=number),
        }
        for number in range(30)
    )
