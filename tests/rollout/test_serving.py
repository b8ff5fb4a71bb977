"""Two versions are served at once: in every process, by the draw, and what ran is recorded with its arm."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import ExecutionStore, ToolRegistry, request, tool
from rollguard.errors import InvalidInput
from rollguard.model.split import Draws, Split
from rollguard.record.in_flight import PUBLISHED_AFTER
from rollguard.registry.serve.sharing import Sharing
from rollguard.sandbox import ToolCheck
from rollguard.store import digest
from tests.conftest import NOW, Guard, code
from tests.contract.sql import ask
from tests.monitor.helpers import Place
from tests.processes import python
from tests.rollout.helpers import Beside

DRAWN = "SELECT version_number, arm, stage, rollout_id, COUNT(*) AS n FROM tool_executions WHERE arm IS NOT NULL "


def test_calls_are_drawn_and_recorded(guard: Guard, url: str) -> None:
    """Each call runs the version that is drawn, and is recorded with version, stage and arm: none is lost or mixed."""
    beside = Beside(guard, [0.3, 0.6])
    said = Counter(guard.registry.call("my_tool", x=10) for _ in range(400))
    guard.registry.recorder.flush()
    counted = {
        row["version_number"]: (row["arm"], row["stage"], row["rollout_id"], row["n"])
        for row in ask(url, DRAWN + "GROUP BY 1, 2, 3, 4")
    }
    assert counted == {
        1: ("old", 0, beside.rollout.rollout_id, said[11]),
        2: ("new", 0, beside.rollout.rollout_id, said[12]),
    }
    assert sum(said.values()) == 400
    assert 60 < said[12] < 190  # of a mean of 120, by more than seven standard deviations


def test_a_request_keeps_its_version(guard: Guard) -> None:
    """All calls of one request run one version, in each process, and over the stages."""
    beside = Beside(guard, [0.5, 0.9])
    names = [f"request {number}" for number in range(30)]
    other = ToolRegistry(guard.registry.folder.path, store=guard.store)

    def served(registry: ToolRegistry) -> list[int]:
        found = []
        for name in names:
            with request(name):
                found.append(registry.call("my_tool"))
        return found

    first = served(guard.registry)
    assert set(first) == {1, 2}
    assert served(guard.registry) == served(other) == first
    beside.calls(100, new=0.0, old=0.0, over=timedelta(hours=1))
    beside.check()
    assert beside.rollout.ramp.stage == 1
    assert served(guard.registry) == first


def test_the_first_calls_of_a_process_are_drawn(guard: Guard) -> None:
    """A process that begins draws from its first call on, also while a thread of it asks the database what changed."""
    Beside(guard, [0.5])
    other = ToolRegistry(guard.registry.folder.path, store=guard.store)
    with other._splits._lock:
        assert {other.call("my_tool") for _ in range(40)} == {1, 2}


async def test_async_calls_are_drawn(guard: Guard, url: str) -> None:
    """`acall` draws as `call` does."""
    Beside(guard, [0.5])
    said = Counter([await guard.registry.acall("my_tool") for _ in range(40)])
    assert set(said) == {1, 2}
    guard.registry.recorder.flush()
    assert {row["n"] for row in ask(url, DRAWN + "GROUP BY 1, 2, 3, 4")} == set(said.values())


def test_threads_draw_at_once(guard: Guard) -> None:
    """Calls of many threads are all counted, each for what ran."""
    beside = Beside(guard, [0.5], rollout_unit_seconds=1.0)
    said: list[int] = []

    def work() -> None:
        said.extend([guard.registry.call("my_tool") for _ in range(100)])

    said.append(guard.registry.call("my_tool"))  # from here on every call is drawn
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    guard.registry.recorder.flush()
    now = datetime.now(NOW.tzinfo) + timedelta(seconds=PUBLISHED_AFTER + 2)
    counted = guard.store.rollouts.counted(
        beside.rollout, baseline=(0, 0), until=now, now=now, limit=timedelta(seconds=60)
    )
    assert counted.arms is not None
    total = counted.arms.total
    assert (total.new_units, total.old_units) == (said.count(2), said.count(1))


def test_a_version_that_cannot_be_loaded_ends_it(guard: Guard) -> None:
    """Where it does not load any more, the rollout fails, people are notified, and the old version serves."""
    beside = Beside(guard, [0.9])
    gone = ToolCheck(loads=False, error="no module named gone")  # as if this machine had lost a library
    guard.registry._live_tools.admission.checks.keep("my_tool", digest(code(2).encode()), gone)
    registry = ToolRegistry(guard.registry.folder.path, store=guard.store)
    assert registry.call("my_tool") == 1
    assert beside.states == ("failed", "cancelled", 1)
    assert "gone" in str(beside.rollout.ended_why)
    assert {registry.call("my_tool") for _ in range(20)} == {1}
    assert beside.served() == {1}


def test_a_superseded_version_serves_no_longer(guard: Guard) -> None:
    """Until a process has loaded the version of a new rollout, the live one serves alone, not the last one's."""
    Beside(guard, [0.9])
    live_tools, loads = guard.registry._live_tools, True
    served = live_tools.serve("my_tool")
    sharing = Sharing(
        guard.registry._splits, guard.store, lambda: live_tools.beside if loads else lambda _version: None, lambda: None
    )
    sharing.attend("my_tool", served)
    assert served.beside is not None
    guard.registry.deploy("my_tool", code(3), watch=guard.monitor.watch("my_tool"), rollout=[0.9])
    loads = False
    sharing.attend("my_tool", served)
    assert (served.beside, served.marked_as) == (None, None)
    loads = True
    sharing.attend("my_tool", served)
    assert {served.beside.drawn()[0].invoke() for _ in range(99)} == {1, 3}  # type: ignore[attr-defined]


SERVING = """
import sys
from rollguard import ExecutionStore, ToolRegistry
with ExecutionStore(sys.argv[1]) as store:
    registry = ToolRegistry(sys.argv[2], store=store)
    for line in sys.stdin:
        print(sorted({registry.call("my_tool", **__import__("json").loads(line)) for _ in range(60)}), flush=True)
"""


def test_another_process_follows(guard: Guard, url: str) -> None:
    """A process that serves the tool draws from the begin of a rollout on, and runs the old version after its end."""
    guard.deploy(1, at=NOW - timedelta(days=1))
    process = python(SERVING, url, guard.registry.folder.path)
    assert process.stdin is not None
    assert process.stdout is not None

    def said() -> Any:
        print("{}", file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    try:
        assert said() == [1]
        guard.registry.deploy("my_tool", code(2), watch=guard.monitor.watch("my_tool"), rollout=[0.5])
        _until(said, [1, 2])
        guard.monitor.rollouts.promote("my_tool")
        _until(said, [2])
    finally:
        process.kill()
        process.communicate()


def _until(said: Callable[[], Any], wanted: list[int]) -> None:
    """Ask the process until it says what is wanted: soon, but for how long it takes this machine is no promise."""
    end = time.monotonic() + 60
    while said() != wanted:
        assert time.monotonic() < end


DYING = """
import os, signal, sys
from rollguard import ExecutionStore, ToolRegistry
store = ExecutionStore(sys.argv[1])
registry = ToolRegistry(sys.argv[2], store=store)
while True:
    registry.call("my_tool")
    registry.recorder.flush()
"""


def test_a_call_that_ends_its_process_counts(guard: Guard, url: str) -> None:
    """A call of the new version that kills its process is a failure of the new arm."""
    guard.deploy(1, at=NOW - timedelta(days=1))
    kills = (
        "import os, signal\ndef my_tool(x: int = 0) -> int:\n    os.kill(os.getpid(), signal.SIGKILL)\n    return 0\n"
    )
    guard.registry.deploy("my_tool", kills, watch=guard.monitor.watch("my_tool"), rollout=[0.5])
    process = python(DYING, url, guard.registry.folder.path)
    assert process.wait() == -signal.SIGKILL
    guard.registry.collect_ended_calls()
    rows = ask(url, "SELECT version_number, arm, stage, rollout_id, success FROM tool_executions WHERE arm = 'new'")
    assert [(row["version_number"], row["stage"], bool(row["success"])) for row in rows] == [(2, 0, False)]


# --- not in a folder ------------------------------------------------------------------------------------------------


class Told(Draws):
    """A router that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.splits: list[Split | None] = []

    def use_split(self, tool_name: str, split: Split | None) -> None:
        """Remember it."""
        self.splits.append(split)
        super().use_split(tool_name, split)


def test_a_function_of_a_program_is_drawn(store: ExecutionStore, url: str) -> None:
    """`@tool(store=…, router=…, previous=…)` runs the function that is drawn, and records the arm."""
    router = Draws()

    def old() -> str:
        return "old"

    @tool(store=store, router=router, previous=old, version=2)
    def hello() -> str:
        return "new"

    assert hello() == "new"
    router.use_split("hello", Split(7, 1, 2, 0, 0.5, b"key"))
    said = Counter(hello() for _ in range(100))
    assert set(said) == {"new", "old"}
    store.executions.tool_names()
    rows = ask(url, DRAWN + "GROUP BY 1, 2, 3, 4")
    assert {row["arm"]: row["n"] for row in rows} == said
    with pytest.raises(InvalidInput, match="router and previous"):
        tool(store=store, router=router)


def test_a_remote_tool_needs_a_router(store: ExecutionStore, tools_dir: Path) -> None:
    """Where an actuator puts versions in their place a rollout is refused, unless a router draws; that is notified."""
    from rollguard import DeploymentMonitor

    place, router = Place(), Told()
    registry = ToolRegistry(tools_dir, store=store, actuators={"my_tool": place})
    monitor = DeploymentMonitor(store, registry)
    registry.deploy("my_tool", code(1))
    with pytest.raises(InvalidInput, match="routers="):
        registry.deploy("my_tool", code(2), watch=monitor.watch("my_tool"), rollout=[0.5])
    registry = ToolRegistry(tools_dir, store=store, actuators={"my_tool": place}, routers={"my_tool": router})
    monitor = DeploymentMonitor(store, registry)
    registry.deploy("my_tool", code(2), watch=monitor.watch("my_tool"), rollout=[0.5])
    assert [split and (split.old, split.new, split.share) for split in router.splits] == [(1, 2, 0.5)]
    assert place.asked == [("deploy", 1)]
    monitor.rollouts.promote("my_tool")
    assert place.asked == [("deploy", 1), ("deploy", 2)]
    assert router.splits[-1] is None
    live = store.versions.live("my_tool")
    assert live is not None
    assert live.version_number == 2
