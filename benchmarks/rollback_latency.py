"""Time from the deciding execution being stored to the restored version answering, in a process that only calls tools.

Three processes, as in production: one deploys, one watches (`AutonomousLoop.run`, whose next scheduled check is minutes
away, so that the arrival of executions alone makes it act), and one calls the tools through its `ToolRegistry`, a call
after the other, 5 ms apart, each written through. The new version fails every call. The deciding execution is the
first one with which the evidence rule rolls back; both moments are taken in the calling process, by one clock. Each
rollback is of another tool, with 200 calls before its deployment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.databases import DATABASES, urls
from benchmarks.harness import Aim, Options, Result, duration
from rollguard import Rollguard
from rollguard.judge import Rules, Window, judge
from rollguard.settings import NotifySettings, RecordSettings, Settings

RULES = Rules(24, 7, 0.15, 10).with_overrides({"decision": "evidence", "max_rollbacks_per_day": 0})
MEDIAN, P99 = 0.1, 0.5
_BEFORE = 200
_BETWEEN = 0.005  # seconds between two calls
_PATIENCE = 60.0  # seconds that a rollback may take before the benchmark gives up


def run(options: Options) -> Result:
    """Measure."""
    rollbacks = 1 if options.tiny else 100 if options.full else 30
    rows, aims = [], []
    with urls(*DATABASES) as (make, servers):
        for kind in DATABASES:
            times = sorted(_times(make(kind), rollbacks))
            median = statistics.median(times)
            p99 = times[min(len(times) - 1, round(0.99 * len(times)))]
            rows.append([kind, str(len(times)), *map(duration, (times[0], median, p99, times[-1]))])
            aims.append(Aim(f"{kind}: a median of at most 100 ms", duration(median), median <= MEDIAN))
            aims.append(Aim(f"{kind}: a p99 of at most 500 ms", duration(p99), p99 <= P99))
    return Result(
        name="rollback_latency",
        title="From the deciding execution to the restored version",
        about=__doc__ or "",
        columns=["", "rollbacks", "fastest", "median", "p99", "slowest"],
        rows=rows,
        aims=aims,
        notes=[
            "Where executions are not written through (`durable = false`, the default), they wait up to "
            "`flush_interval_seconds`, 0.1 s by default, before they are stored; that is not in these figures.",
            "Checks of what arrives take at most a fifth of a processor: after each the watcher rests four times as "
            "long as it worked, and 20 ms at least. On average half of that rest is in each figure.",
        ],
        machine=servers,
    )


def deciding() -> int:
    """With how many failed calls since the deployment, and no other, the rule rolls back."""
    before = Window(_BEFORE, _BEFORE, _BEFORE, _BEFORE * 10.0, ((100, _BEFORE),))
    return next(n for n in range(1, 1_000) if judge(before, Window(n, 0, n, n * 1.0, ((0, n),)), RULES).needs_rollback)


def _times(url: str, rollbacks: int) -> Iterator[float]:
    with tempfile.TemporaryDirectory(prefix="rg-bench-") as folder, _opened(url, folder) as guard:
        names = [f"tool_{number}" for number in range(rollbacks)]
        now = datetime.now(UTC)
        for name in names:
            guard.deploy(name, _code(name, good=True), deployed_at=now - timedelta(days=2), watch=False)
            guard.store.store_tool_executions(
                {
                    "tool_name": name,
                    "success": True,
                    "duration_ms": 10.0,
                    "executed_at": now - timedelta(days=1) + timedelta(seconds=second),
                }
                for second in range(_BEFORE)
            )
        with _process(_watch, url, folder), _process(_call, url, folder) as caller:
            for name in names:
                guard.deploy(name, _code(name, good=False))
                caller.send(name)
                if not caller.poll(2 * _PATIENCE):
                    raise TimeoutError(f"{name} was not rolled back")
                yield caller.recv()
            caller.send(None)


def _opened(url: str, folder: str) -> Rollguard:
    logging.getLogger("rollguard").setLevel(logging.CRITICAL)
    return Rollguard(
        Settings(
            database=url,
            tools_dir=Path(folder),
            monitor=RULES,
            record=RecordSettings(durable=True),
            notify=NotifySettings(log=False),
        )
    )


def _code(name: str, *, good: bool) -> str:
    body = "return 1" if good else "raise RuntimeError('no answer')"
    return f"def {name}() -> int:\n    {body}\n"


# --- the other processes ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _process(target: Any, url: str, folder: str) -> Iterator[Any]:
    """A process of its own, ready, and the line to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(url, folder, theirs))
    process.start()
    try:
        if not ours.poll(_PATIENCE):
            raise TimeoutError("a process did not start")
        ours.recv()
        yield ours
    finally:
        process.terminate()
        process.join()


def _watch(url: str, folder: str, line: Any) -> None:
    async def watch(guard: Rollguard) -> None:
        running = asyncio.create_task(guard.loop.run())
        while not guard.loop.stats["cycles"]:
            await asyncio.sleep(0.01)
        line.send("watching")
        await running

    with _opened(url, folder) as guard:
        asyncio.run(watch(guard))


def _call(url: str, folder: str, line: Any) -> None:
    needed = deciding()
    with _opened(url, folder) as guard:
        line.send("ready")
        while (name := line.recv()) is not None:
            failures, decided = 0, 0.0
            until = time.monotonic() + _PATIENCE
            while time.monotonic() < until:
                try:
                    guard.registry.call(name)
                except RuntimeError:  # stored when it is raised
                    failures += 1
                    if failures == needed:
                        decided = time.monotonic()
                else:
                    line.send(time.monotonic() - decided)
                    break
                time.sleep(_BETWEEN)
