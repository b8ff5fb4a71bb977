"""`python -m benchmarks.soak [--seconds N] [--troubles]`: watchers and deployers on one store; then, is all recorded?

Eight watcher processes (`AutonomousLoop.run`) and four working processes share one folder and one database. The workers
call tools, deploy good and bad versions, at once or beside the old ones, deploy over rollbacks, promote and abort
rollouts, roll back by hand and cancel sessions. Every second tool confirms what the evidence rule finds. Then every
invariant is checked; the exit code is 1 where one does not hold. With `--troubles` everything of `benchmarks.troubles`
happens to them meanwhile: they are killed and suspended, disks are full, the database goes away and comes back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging.handlers
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.databases import DATABASES, postgres
from benchmarks.troubles import Troubles, clock_jumps
from rollguard import Rollguard
from rollguard.errors import (
    BreakingChange,
    CodeQuarantined,
    DeploymentConflict,
    InvalidInput,
    NoEarlierVersion,
    RollbackRefused,
    RollguardError,
    SessionClosed,
    StoreBusy,
    ToolLoadError,
)
from rollguard.judge import Rules
from rollguard.model.ramp import State
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import CANARY
from rollguard.notify import Dispatcher
from rollguard.settings import NotifySettings, RecordSettings, Settings, WatchSettings
from rollguard.store.outbox import LONGEST_PAUSE
from rollguard.store.schema import notifications, tool_executions

WATCHERS, WORKERS, TOOLS = 8, 4, 12
PLACES = 20_000  # a new process takes a new one
STUCK = 20.0  # seconds without a call, after which a worker is killed
# How often a worker does something else than to call. Rarely: most bad versions shall live long enough to be found.
DEPLOYS, ROLLS_BACK, CANCELS, DECIDES = 0.0006, 0.0001, 0.0001, 0.0001
RULES = {  # stages of seconds, so that many rollouts come to each of their ends
    **{"decision": "evidence", "max_rollbacks_per_day": 0, "confirm_calls": 200, "confirm_minutes": 1.0},
    **{"rollout_stage_minutes": 0.05, "rollout_stage_units": 10, "rollout_limit_hours": 0.02},
    **{"rollout_unit_seconds": 2.0},
}
ENDED_BY = {State.UNPROVEN: "completed", State.ABORTED: "cancelled", State.FAILED: "cancelled"}
REFUSALS = (
    BreakingChange,
    CodeQuarantined,
    DeploymentConflict,
    NoEarlierVersion,
    RollbackRefused,
    SessionClosed,
    StoreBusy,
)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Watch and deploy, all at once.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, on each database (default 60)")
    parser.add_argument("--database", choices=DATABASES, action="append", help="only this one")
    parser.add_argument("--troubles", action="store_true", help="let everything happen that can go wrong")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when (default 0)")
    given = parser.parse_args(arguments)
    wrong = 0
    for kind in given.database or DATABASES:
        with contextlib.ExitStack() as stack:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="rg-soak-", ignore_cleanup_errors=True))
            )
            server = stack.enter_context(postgres()) if kind == "PostgreSQL" else None
            url = f"sqlite:///{folder}/soak.db" if server is None else server.new_database()
            crowd = Crowd(url, folder / "tools", given.seconds, troubled=given.troubles)
            found = soak(crowd, Troubles(crowd, server, random.Random(given.seed)) if given.troubles else None)
        print(f"\n{kind}, {given.seconds:.0f} s, {WATCHERS} watchers, {WORKERS} workers, {TOOLS} tools")
        for name, count in sorted(found["counts"].items()):
            print(f"  {count:>8,}  {name}")
        for sentence in found["wrong"]:
            print(f"  WRONG: {sentence}")
        print("  every invariant holds" if not found["wrong"] else f"  {len(found['wrong'])} do not hold", flush=True)
        wrong += len(found["wrong"])
    return 1 if wrong else 0


def soak(crowd: Crowd, troubles: Troubles | None) -> dict[str, Any]:
    """Let all of them work for so long, then look.

    Returns:
        `counts` of what was done, and what is `wrong`, in sentences.
    """
    with opened(crowd.url, crowd.folder) as guard:
        for number in range(TOOLS):
            guard.deploy(name_of(number), code_of(number, 0, "good"))
    try:
        crowd.begin()
        if troubles is None:
            crowd.wait_for_workers()
        else:
            troubles.until(crowd.end)
        crowd.stop()
    finally:
        crowd.kill()
    wrong, counts = crowd.wrong, crowd.counts()
    if troubles is not None:
        counts.update(troubles.counts)
    with opened(crowd.url, crowd.folder) as guard:
        for _ in range(3 if troubles else 1):  # what was cut short is finished, and what failed is tried again
            asyncio.run(guard.loop.check_deployment_health())
        if troubles is not None:  # a watcher that was killed keeps what it was delivering until its lease ends
            Dispatcher(guard.store, []).deliver(datetime.now(UTC) + LONGEST_PAUSE)
        guard.registry.recorder.flush()
        counts.update({name: count for name, count in _kept(guard).items() if count})
        wrong += look(guard, crowd.folder, counts)
    return {"counts": counts, "wrong": wrong}


def opened(url: str, folder: Path, *, durable: bool = False, must_answer: bool = True) -> Rollguard:
    """The system, as every process opens it."""
    logging.getLogger("rollguard").setLevel(logging.CRITICAL)  # what goes wrong is counted
    return Rollguard(
        Settings(
            database=url,
            tools_dir=folder,
            monitor=Rules(24, 7, 0.15, 10).with_overrides(RULES),
            tools={name_of(number): {"confirm": "concurrent"} for number in range(0, TOOLS, 2)},
            watch=WatchSettings(check_interval_seconds=1),
            record=RecordSettings(busy_timeout_seconds=30, durable=durable),
            notify=NotifySettings(log=False),
        ),
        must_answer=must_answer,
    )


def name_of(number: int) -> str:
    return f"tool_{number}"


BODIES = {
    "good": "return {serial}",
    "bad": "raise RuntimeError('bad {serial}')",
    "deadly": "import os; os._exit({serial} % 2 + 3)",
    "endless": "import time; time.sleep(3600 + {serial})",
}


def code_of(number: int, serial: int, kind: str) -> str:
    """A version of a tool; each serial number is other code."""
    return f"def {name_of(number)}() -> int:\n    {BODIES[kind].format(serial=serial)}\n"


# --- the processes ---------------------------------------------------------------------------------------------------


class Crowd:
    """The processes. One that ends before its time is replaced by another, if there are troubles, and else is wrong.

    Each has a place in a shared memory where it counts its calls, which survives its death.
    """

    def __init__(self, url: str, folder: Path, seconds: float, *, troubled: bool) -> None:
        self.url, self.folder, self.troubled = url, folder, troubled
        self.end = time.monotonic() + seconds
        self._context = multiprocessing.get_context("spawn")
        self._calls: Any = self._context.RawArray("Q", PLACES)
        self._seen: dict[int, tuple[int, float]] = {}
        self.running: dict[int, Any] = {}  # by place; workers have even ones
        self.wrong: list[str] = []
        self.ended, self._places = Counter[str](), iter(range(2, PLACES // 2))

    def begin(self) -> None:
        """Start all of them."""
        for _ in range(WATCHERS):
            self._start(watch)
        for _ in range(WORKERS):
            self._start(work)

    def wait_for_workers(self) -> None:
        """Return when every worker has ended."""
        for place, process in self.running.items():
            if place % 2 == 0:
                process.join()

    def replace_the_dead(self) -> None:
        """Start another process for each that has ended; and kill the workers that a call holds for ever."""
        now = time.monotonic()
        for place, process in list(self.running.items()):
            calls, since = self._seen.get(place, (-1, now))
            if self._calls[place] != calls:
                self._seen[place] = self._calls[place], now
            elif place % 2 == 0 and now - since > STUCK:
                process.kill()
            if process.exitcode is not None:
                del self.running[place]
                self._ended(process)
                self._start(work if place % 2 == 0 else watch)

    def stop(self) -> None:
        """End all of them: the watchers by a signal, after the checks under way."""
        latest = time.monotonic() + STUCK
        for place, process in self.running.items():
            if place % 2 == 0:
                process.join(max(0.0, latest - time.monotonic()) if self.troubled else None)
                if process.exitcode is None:
                    process.kill()
            else:
                process.terminate()
        for process in self.running.values():
            process.join()
            if process.exitcode:
                self._ended(process)
                if not self.troubled:
                    self.wrong.append(f"a process ended with {process.exitcode}")

    def kill(self) -> None:
        """Kill those that are left, after an error: a suspended one would not end by itself."""
        for process in self.running.values():
            process.kill()

    def counts(self) -> Counter[str]:
        """What was called, and how many processes ended before their time, and how."""
        return Counter({"calls": sum(self._calls), **self.ended})

    def _ended(self, process: Any) -> None:
        self.ended[f"processes that ended with {process.exitcode}"] += 1

    def _start(self, what: Any) -> None:
        place = 2 * next(self._places) + int(what is watch)
        arguments = (self.url, str(self.folder), place, self.end - time.monotonic(), self.troubled, self._calls)
        self.running[place] = process = self._context.Process(target=what, args=arguments, daemon=True)
        process.start()


def watch(url: str, folder: str, place: int, _seconds: float, troubled: bool, _calls: Any) -> None:
    """One watcher, until it is asked to stop."""
    with opened(url, Path(folder), must_answer=not troubled) as guard:
        if troubled and place % 3 == 0:
            clock_jumps(random.Random(place))
        log, said = logging.getLogger("rollguard"), logging.handlers.MemoryHandler(1_000, flushLevel=sys.maxsize)
        if not troubled:
            log.setLevel(logging.WARNING)
            log.addHandler(said)
        asyncio.run(guard.loop.run())
        if (errors := guard.loop.stats["errors"]) and not troubled:
            sys.exit("\n  ".join([f"{errors} errors of a watcher:", *(each.getMessage() for each in said.buffer)]))


def work(url: str, folder: str, place: int, seconds: float, troubled: bool, calls: Any) -> None:
    """One worker: mostly calls, now and then a change."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    chance, serial = random.Random(place), 0
    kinds = ("good", "good", "bad", "bad", "bad", "deadly", "endless") if troubled else ("good", "bad")
    end = time.monotonic() + seconds
    with opened(url, Path(folder), durable=troubled, must_answer=not troubled) as guard:
        recorder = guard.registry.recorder
        while time.monotonic() < end:
            number, dice = chance.randrange(TOOLS), chance.random() / (20 if troubled else 1)
            try:
                if dice < DEPLOYS:
                    serial += 1
                    code = code_of(number, place * 1_000_000 + serial, chance.choice(kinds))
                    guard.deploy(name_of(number), code, rollout=chance.choice(((), (0.3, 0.6))))
                elif dice < DEPLOYS + ROLLS_BACK:
                    guard.monitor.roll_back(name_of(number), reason="by hand")
                elif dice < DEPLOYS + ROLLS_BACK + CANCELS:
                    for session in guard.monitor.get_active_sessions()[:1]:
                        guard.monitor.cancel_monitoring(session.session_id)
                elif dice < DEPLOYS + ROLLS_BACK + CANCELS + DECIDES:
                    decide(guard, chance)
                else:
                    lost = recorder.lost
                    with contextlib.suppress(RuntimeError, ToolLoadError):  # what does not load is a failed call
                        guard.registry.call(name_of(number))
                    calls[place] += int(recorder.lost == lost)
            except RollguardError as refusal:
                if not troubled and not isinstance(refusal, REFUSALS):
                    raise
        recorder.flush()


def decide(guard: Rollguard, chance: random.Random) -> None:
    """What a person does with a rollout under way."""
    for rollout in guard.store.rollouts.open()[:1]:
        rollouts, now = guard.monitor.rollouts, datetime.now(UTC)
        step = chance.choice((rollouts.promote, rollouts.pause, rollouts.abort))
        with contextlib.suppress(InvalidInput):  # it ended, or is paused, at this moment
            step(rollout.tool_name, by="a worker", reason="by hand", now=now)


# --- what must hold --------------------------------------------------------------------------------------------------


def look(guard: Rollguard, folder: Path, counts: Counter[str]) -> Iterator[str]:
    """What does not hold, of all that must."""
    store = guard.store
    for name, live in store.versions.live_of_all().items():
        if (folder / f"{name}.py").read_bytes() != store.versions.get(name, live.version_number).code:
            yield f"{name}: its file is not version {live.version_number}, which is live"
        numbers = sorted(version.version_number for version in store.versions.history(name))
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{name}: its versions are {numbers}"
    if left := [p.name for p in folder.glob(".rollguard*") if p.is_file()]:
        yield f"left in the folder: {left}"
    rollbacks, sessions = store.rollbacks.recent(), store.sessions.recent()
    finished = {r.session_id: r for r in rollbacks if r.state == "finished"}
    of_sessions = Counter(r.session_id for r in rollbacks if r.session_id is not None)
    if twice := [session for session, count in of_sessions.items() if count > 1]:
        yield f"sessions with several rollbacks: {twice}"
    if open_ones := store.rollbacks.open():
        yield f"rollbacks still open: {[r.rollback_id for r in open_ones]}"
    for session in sessions:
        if (session.status == "rolled_back") != (session.session_id in finished):
            yield f"session {session.session_id} is {session.status}, and its rollback says otherwise"
    yield from look_at_rollouts(guard, rollbacks)
    live_now = {name: live.version_number for name, live in store.versions.live_of_all().items()}
    beside = {rollout.session_id: rollout.new_version for rollout in store.rollouts.open()}
    for session in (s for s in sessions if s.active):
        if session.version_number not in (live_now[session.tool_name], beside.get(session.session_id)):
            yield f"session {session.session_id} watches version {session.version_number}, which is not live"
    store.fold()
    if store.database.dialect == "sqlite":  # it may have been replaced, and cut off
        with store.database.read() as connection:
            if (damage := connection.exec_driver_sql("PRAGMA integrity_check").scalar()) != "ok":
                yield f"the database is damaged: {damage}"
    with store.database.read() as connection:
        rows = connection.scalar(sa.select(sa.func.count()).select_from(tool_executions)) or 0
        events = [dict(event) for event in connection.scalars(sa.select(notifications.c.event))]
        rolled = connection.scalar(sa.text("SELECT SUM(executions) FROM tool_execution_rollups WHERE width = 60")) or 0
        rolled += connection.scalar(sa.text("SELECT SUM(executions) FROM tool_execution_deltas")) or 0
    ended = sum(count for name, count in counts.items() if name.startswith("processes that"))
    made, unsure = counts["calls"] + counts["hostile rows that were taken"], 2 * ended
    if not made <= rows <= made + unsure or rows != rolled:  # who dies in a call does not count it
        yield f"{made} to {made + unsure} calls were made, {rows} are stored, {rolled} are in the rollups"
    notified = Counter(event["details"]["rollback_id"] for event in events if event["kind"] == "rolled_back")
    if notified != Counter({r.rollback_id: 1 for r in rollbacks if r.state == "finished"}):
        yield "not every rollback was notified once"
    if store.outbox.undelivered():
        yield f"{store.outbox.undelivered()} events are not delivered"


def look_at_rollouts(guard: Rollguard, rollbacks: list[Rollback]) -> Iterator[str]:
    """What does not hold of the rollouts."""
    store, by_rollback = guard.store, Counter(r.rollout_id for r in rollbacks if r.rollout_id is not None)
    statement = sa.text("SELECT rollout_id, COUNT(*) AS n FROM tool_executions WHERE rollout_id IS NOT NULL GROUP BY 1")
    with store.database.read() as connection:
        drawn: dict[int, int] = {row.rollout_id: row.n for row in connection.execute(statement)}
    for rollout in store.rollouts.recent():
        number, state, session = rollout.rollout_id, rollout.ramp.state, store.sessions.get(rollout.session_id)
        if rollout.open and not session.active:
            yield f"rollout {number} is {state}, and its session {session.status}"
        if state is State.ROLLED_BACK and not by_rollback[number]:
            yield f"rollout {number} is rolled back, and no rollback says so"
        if rollout.kind == CANARY and state in ENDED_BY and session.status != ENDED_BY[state]:
            yield f"rollout {number} ended {state}, and its session is {session.status}"
        # a call in flight in a process that was killed is counted, and may never be stored
        if (
            rollout.kind == CANARY
            and rollout.arms is not None
            and rollout.arms.counted > drawn.get(number, 0) + WORKERS
        ):
            yield f"rollout {number} counted {rollout.arms.counted} units of {drawn.get(number, 0)} calls"


def _kept(guard: Rollguard) -> Counter[str]:
    counts: Counter[str] = Counter()
    for session in guard.store.sessions.recent():
        counts[f"sessions {session.status}"] += 1
    for rollout in guard.store.rollouts.recent():
        counts[f"rollouts {rollout.ramp.state}, {rollout.kind}"] += 1
    for rollback in guard.store.rollbacks.recent():
        counts[f"rollbacks {rollback.state}, {rollback.rollback_type}"] += 1
    return counts


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
