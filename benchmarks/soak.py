"""`python -m benchmarks.soak [--seconds N]`: watchers and deployers on one store; then, are the books right?

Eight watcher processes (`AutonomousLoop.run`) and four working processes share one folder and one database. The workers
call tools, deploy good and bad versions, deploy over rollbacks, roll back by hand and cancel sessions. Afterwards every
invariant is checked; the exit code is 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.databases import DATABASES, urls
from rollguard import Rollguard
from rollguard.errors import (
    CodeQuarantined,
    DeploymentConflict,
    NoEarlierVersion,
    RollbackRefused,
    SessionClosed,
    StoreBusy,
)
from rollguard.judge import Rules
from rollguard.settings import NotifySettings, RecordSettings, Settings, WatchSettings
from rollguard.store.schema import notifications, tool_executions

WATCHERS, WORKERS, TOOLS = 8, 4, 12
# How often a worker does something else than to call. Rarely: most bad versions shall live long enough to be found.
DEPLOYS, ROLLS_BACK, CANCELS = 0.0006, 0.0001, 0.0001
REFUSALS = (CodeQuarantined, DeploymentConflict, NoEarlierVersion, RollbackRefused, SessionClosed, StoreBusy)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Watch and deploy, all at once.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, on each database (default 60)")
    parser.add_argument("--database", choices=DATABASES, action="append", help="only this one")
    given = parser.parse_args(arguments)
    wrong = 0
    for kind in given.database or DATABASES:
        with urls(kind) as (make, _), tempfile.TemporaryDirectory(prefix="rg-soak-") as folder:
            found = soak(make(kind), Path(folder) / "tools", given.seconds)
        print(f"\n{kind}, {given.seconds:.0f} s, {WATCHERS} watchers, {WORKERS} workers, {TOOLS} tools")
        for name, count in sorted(found["counts"].items()):
            print(f"  {count:>8,}  {name}")
        for sentence in found["wrong"]:
            print(f"  WRONG: {sentence}")
        print("  every invariant holds" if not found["wrong"] else f"  {len(found['wrong'])} do not hold", flush=True)
        wrong += len(found["wrong"])
    return 1 if wrong else 0


def soak(url: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Let all of them work for so long, then look.

    Returns:
        `counts` of what was done, and what is `wrong`, in sentences.
    """
    context = multiprocessing.get_context("spawn")
    with opened(url, folder) as guard:
        for number in range(TOOLS):
            guard.deploy(name_of(number), code_of(number, 0, good=True))
    said: Any = context.SimpleQueue()
    processes = [context.Process(target=watch, args=(url, str(folder), said)) for _ in range(WATCHERS)]
    workers = [context.Process(target=work, args=(url, str(folder), n, seconds, said)) for n in range(WORKERS)]
    for process in processes + workers:
        process.start()
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    _gather(said, workers, counts, wrong)
    for process in processes:
        process.terminate()  # SIGTERM: it ends after the checks under way
    _gather(said, processes, counts, wrong)
    for process in processes + workers:
        process.join()
        if process.exitcode:
            wrong.append(f"a process ended with {process.exitcode}")
    with opened(url, folder) as guard:
        asyncio.run(guard.loop.check_deployment_health())
        counts.update({name: count for name, count in _kept(guard).items() if count})
        wrong += look(guard, folder, counts)
    return {"counts": counts, "wrong": wrong}


def opened(url: str, folder: Path) -> Rollguard:
    """The system, as every process opens it."""
    logging.getLogger("rollguard").setLevel(logging.CRITICAL)  # what goes wrong is counted
    return Rollguard(
        Settings(
            database=url,
            tools_dir=folder,
            monitor=Rules(24, 7, 0.15, 10).with_overrides({"decision": "evidence", "max_rollbacks_per_day": 0}),
            watch=WatchSettings(check_interval_seconds=1),
            record=RecordSettings(busy_timeout_seconds=30),
            notify=NotifySettings(log=False),
        )
    )


def name_of(number: int) -> str:
    return f"tool_{number}"


def code_of(number: int, serial: int, *, good: bool) -> str:
    """A version of a tool; each serial number is other code."""
    body = f"return {serial}" if good else f"raise RuntimeError('bad {serial}')"
    return f"def {name_of(number)}() -> int:\n    {body}\n"


# --- the processes ---------------------------------------------------------------------------------------------------


def watch(url: str, folder: str, said: Any) -> None:
    """One watcher, until it is told to stop."""
    with opened(url, Path(folder)) as guard:
        asyncio.run(guard.loop.run())
        said.put(json.dumps({f"watchers' {name}": count for name, count in guard.loop.stats.items()}))


def work(url: str, folder: str, worker: int, seconds: float, said: Any) -> None:
    """One worker: mostly calls, now and then a change."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    chance, done, serial = random.Random(worker), Counter[str](), 0
    end = time.monotonic() + seconds
    with opened(url, Path(folder)) as guard:
        while time.monotonic() < end:
            number, dice = chance.randrange(TOOLS), chance.random()
            try:
                if dice < DEPLOYS:
                    serial += 1
                    good = chance.random() < 0.5
                    guard.deploy(name_of(number), code_of(number, (worker + 1) * 1_000_000 + serial, good=good))
                    done["good versions deployed" if good else "bad versions deployed"] += 1
                elif dice < DEPLOYS + ROLLS_BACK:
                    guard.monitor.roll_back(name_of(number), reason="by hand")
                    done["rolled back by hand"] += 1
                elif dice < DEPLOYS + ROLLS_BACK + CANCELS:
                    for session in guard.monitor.get_active_sessions()[:1]:
                        guard.monitor.cancel_monitoring(session.session_id)
                        done["cancelled by hand"] += 1
                else:
                    _call(guard, number, done)
            except REFUSALS as refusal:
                done[f"refused: {type(refusal).__name__}"] += 1
        guard.registry.recorder.flush()
    said.put(json.dumps(done))


def _call(guard: Rollguard, number: int, done: Counter[str]) -> None:
    done["calls"] += 1
    try:
        guard.registry.call(name_of(number))
    except RuntimeError:
        done["calls that failed"] += 1


def _gather(said: Any, processes: list[Any], counts: Counter[str], wrong: list[str]) -> None:
    """What each of the processes has to say; one that died says nothing."""
    waiting = len(processes)
    while waiting:
        if said.empty():
            if not any(process.is_alive() for process in processes) and said.empty():
                wrong.append(f"{waiting} processes died")
                return
            time.sleep(0.05)
            continue
        counts.update(json.loads(said.get()))
        waiting -= 1


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
    live_now = {name: live.version_number for name, live in store.versions.live_of_all().items()}
    for session in (s for s in sessions if s.active):
        if session.version_number != live_now[session.tool_name]:
            yield f"session {session.session_id} watches version {session.version_number}, which is not live"
    store.fold()
    with store.database.read() as connection:
        rows = connection.scalar(sa.select(sa.func.count()).select_from(tool_executions))
        events = [dict(event) for event in connection.scalars(sa.select(notifications.c.event))]
        rolled = connection.scalar(sa.text("SELECT SUM(executions) FROM tool_execution_rollups WHERE width = 60")) or 0
        rolled += connection.scalar(sa.text("SELECT SUM(executions) FROM tool_execution_deltas")) or 0
    if not counts["calls"] == rows == rolled:
        yield f"{counts['calls']} calls were made, {rows} are stored, {rolled} are in the rollups"
    told = Counter(event["details"]["rollback_id"] for event in events if event["kind"] == "rolled_back")
    if told != Counter({r.rollback_id: 1 for r in rollbacks if r.state == "finished"}):
        yield "not every rollback was told once"
    if store.outbox.undelivered():
        yield f"{store.outbox.undelivered()} events are not told"
    if errors := counts["watchers' errors"]:
        yield f"{errors} errors of watchers"


def _kept(guard: Rollguard) -> Counter[str]:
    counts: Counter[str] = Counter()
    for session in guard.store.sessions.recent():
        counts[f"sessions {session.status}"] += 1
    for rollback in guard.store.rollbacks.recent():
        counts[f"rollbacks {rollback.state}, {rollback.rollback_type}"] += 1
    return counts


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
