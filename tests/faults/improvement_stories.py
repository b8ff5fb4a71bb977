"""The story of an attempt to improve a tool: every stage from the finding to the deployment is struck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollguard import Rollguard
from rollguard.loop.improvement import improvement_stages
from rollguard.loop.rules import ApprovalRules, LoopRules
from rollguard.model.attempt import State, Why
from rollguard.rehearse import RehearsalRules, Rehearser
from tests.loop.improving import Scripted
from tests.rehearse.running import in_process

TOOL = "pay"
OLD = "def pay(amount=0, x=0):\n    return {'total': float(amount) + x}\n"
RIGHT = "def pay(amount=0, x=0):\n    amount = str(amount).replace(',', '')\n    return {'total': float(amount) + x}\n"
WHOLE = ["find", "investigate", "propose", "rehearse", "approve", "intend", "deploy"]
RULES = LoopRules(improve=True, approval=ApprovalRules(automatic=("shadow",)))


def prepare(guard: Rollguard) -> None:
    """Deploy a tool that fails with a class of inputs, and record calls of it."""
    now = datetime.now(UTC)
    guard.deploy(TOOL, OLD, deployed_at=now - timedelta(days=3), watch=False)
    guard.store.store_tool_executions(
        {
            "tool_name": TOOL,
            "success": good,
            "error": None if good else f"ValueError: could not convert '{n},{n + 300}'",
            "parameters": {"amount": str(1_000 + n) if good else f"{n},{n + 300}"},
            "result": {"total": float(1_000 + n)} if good else None,
            "executed_at": now - timedelta(hours=3),
        }
        for good in (True, False)
        for n in range(1, 21)
    )


def act(guard: Rollguard, now: datetime | None = None) -> None:
    """Run each stage of an improvement once, as a cycle does."""
    rules = {TOOL: RehearsalRules(read_only=True, unwitnessed="pass")}
    guard.rehearser = Rehearser(guard.store, guard.registry, rules=rules, run=in_process)
    parts = replace(guard.improvement, improver=Scripted(RIGHT), rules=RULES)
    for stage in improvement_stages(parts):
        stage.run(now or datetime.now(UTC))


def recover(guard: Rollguard, later: datetime) -> None:
    """Run two cycles, as another loop does when the leases are over."""
    for cycle in range(2):
        act(guard, later + cycle * timedelta(minutes=5))


def wrong(guard: Rollguard, folder: Path, told: Counter[str], *, killed: bool, returned: bool) -> Iterator[str]:
    """Return what does not hold: each stage happened once, with one version, one session and one event."""
    store = guard.store
    attempts, live = store.attempts.recent(), store.versions.live(TOOL)
    if len(attempts) != 1 or live is None:
        yield f"{len(attempts)} attempts, {live} is live"
        return
    (attempt,) = attempts
    events = [event.event for event in store.attempt_events.of(attempt.attempt_id)]
    sessions = [(one.version_number, one.status) for one in store.sessions.recent()]
    versions = [version.code for version in store.versions.history(TOOL)]
    file = (folder / "tools" / f"{TOOL}.py").read_bytes()
    if not killed and attempt.state is State.FAILED and attempt.why is Why.ERROR:  # a full disk, and the like
        if (live.version_number, sessions, file) != (1, [], OLD.encode()) or events != [*WHOLE[:-1], "fail"]:
            yield f"it failed, and version {live.version_number} is live, sessions {sessions}, events {events}"
        return
    if events != WHOLE or attempt.state is not State.WATCHING:
        yield f"{attempt.state}: events {events}"
    if (live.version_number, versions, file) != (2, [RIGHT.encode(), OLD.encode()], RIGHT.encode()):
        yield f"version {live.version_number} is live, of {len(versions)}, and the file holds {file!r}"
    if sessions != [(2, "active")] or attempt.session_id != store.sessions.active(TOOL)[0].session_id:
        yield f"sessions {sessions}, the attempt's is {attempt.session_id}"
    if told["proposal_waiting"] != 1:
        yield f"told {dict(told)}"
