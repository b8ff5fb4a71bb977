"""Small figures of the Rollguard that `PYTHONPATH` names, by methods that each commit has: `figures.py NAME SIZE`.

It imports nothing of the benchmarks, so that it runs with any commit of the sources.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rollguard import AutonomousLoop, DeploymentMonitor, ExecutionStore, ToolRegistry

_NOW = datetime.now(UTC)
_GOOD = "def {name}() -> int:\n    return 1\n"
_BAD = "def {name}() -> int:\n    raise RuntimeError('no answer')\n"


class Parts:
    """A store in a SQLite file, a folder of tools, and a monitor."""

    def __init__(self, folder: Path) -> None:
        self.store = ExecutionStore(f"sqlite:///{folder}/figures.db")
        self.registry = ToolRegistry(folder / "tools", store=self.store)
        self.monitor = DeploymentMonitor(
            execution_store=self.store,
            tool_registry=self.registry,
            monitoring_window_hours=24,
            baseline_window_days=7,
            regression_threshold=0.15,
            min_executions=10,
        )

    def executed(self, tools: int, calls: int, hours: float) -> list[dict[str, Any]]:
        """Executions around so many hours ago."""
        began = _NOW - timedelta(hours=hours)
        return [
            {
                "tool_name": f"tool_{tool}",
                "success": True,
                "duration_ms": 10.0 + call % 50,
                "parameters": {"customer": call, "query": "latest invoices"},
                "result": {"found": call % 7},
                "executed_at": began + timedelta(seconds=call % 3_000),
            }
            for tool in range(tools)
            for call in range(calls)
        ]

    def sessions(self, tools: int, calls: int) -> list[int]:
        """Watch deployments of some tools an hour ago, with so many calls before each and since."""
        for hours in (3.0, 0.9):
            self.store.store_tool_executions(self.executed(tools, calls, hours))
        deployed = _NOW - timedelta(hours=1)
        return [
            self.monitor.start_monitoring(tool_name=f"tool_{tool}", deployment_time=deployed) for tool in range(tools)
        ]


def call(parts: Parts, size: int) -> float:
    """Seconds of the caller's processor for a recorded call."""
    parts.registry.deploy("tool_0", _GOOD.format(name="tool_0"))
    parts.registry.call("tool_0")
    gc.collect()
    gc.freeze()  # what the packages brought is nobody's garbage
    began = time.thread_time()
    for _ in range(size):
        parts.registry.call("tool_0")
    return (time.thread_time() - began) / size


def check(parts: Parts, size: int) -> float:
    """Seconds of the processor for `check_health`."""
    (session,) = parts.sessions(1, size)
    parts.monitor.check_health("tool_0", session)
    began = time.process_time()
    for _ in range(50):
        parts.monitor.check_health("tool_0", session)
    return (time.process_time() - began) / 50


def cycle(parts: Parts, size: int) -> float:
    """Seconds of the processor for a cycle of the loop, after the first one."""
    parts.sessions(size, 30)
    loop = AutonomousLoop(parts.monitor)
    asyncio.run(loop.check_deployment_health())
    began = time.process_time()
    asyncio.run(loop.check_deployment_health())
    return time.process_time() - began


def ingest(parts: Parts, size: int) -> float:
    """Seconds of the processor for storing mappings in bulk, with the rollups."""
    executions = parts.executed(20, size // 20, 2.0)
    began = time.process_time()
    parts.store.store_tool_executions(executions)
    parts.store.fold()
    return time.process_time() - began


def restored(parts: Parts, size: int) -> float:
    """Seconds from deciding to the restored version's answer, in one process; the median."""
    times = []
    for number in range(size):
        name = f"tool_{number}"
        parts.registry.deploy(name, _GOOD.format(name=name), deployed_at=_NOW - timedelta(days=2))
        parts.store.store_tool_executions({**one, "tool_name": name} for one in parts.executed(1, 200, 24.0))
        parts.registry.deploy(name, _BAD.format(name=name), deployed_at=datetime.now(UTC))
        session = parts.monitor.start_monitoring(tool_name=name, deployment_time=datetime.now(UTC))
        for _ in range(20):
            with contextlib.suppress(RuntimeError):
                parts.registry.call(name)
        began = time.perf_counter()
        assert parts.monitor.auto_rollback_if_needed(tool_name=name, session_id=session)["rollback_performed"]
        assert parts.registry.call(name) == 1
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


FIGURES: dict[str, Callable[[Parts, int], float]] = {
    "call": call,
    "check": check,
    "cycle": cycle,
    "ingest": ingest,
    "restored": restored,
}

if __name__ == "__main__":
    logging.getLogger("rollguard").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="rg-bench-", ignore_cleanup_errors=True) as made:
        (Path(made) / "tools").mkdir()
        print(FIGURES[sys.argv[1]](Parts(Path(made)), int(sys.argv[2])))
