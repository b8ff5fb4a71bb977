"""Several real processes deploy and call at once."""

from __future__ import annotations

from pathlib import Path

from rollguard import ExecutionStore, ToolRegistry
from tests.processes import at_once, finished, go_on, python
from tests.registry.helpers import executions

DEPLOY_AT_ONCE = """
import sys
from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import DeploymentConflict
url, tools, number, rounds = sys.argv[1:]
registry = ToolRegistry(tools, store=ExecutionStore(url, busy_timeout=300))
print("ready", flush=True)
for round in range(int(rounds)):
    sys.stdin.readline()
    try:
        registry.deploy("my_tool", f"def my_tool():\\n    return ({round}, {number})\\n")
        print("deployed", flush=True)
    except DeploymentConflict:
        print("conflict", flush=True)
"""


def test_two_deploy_at_once(store: ExecutionStore, url: str, tools_dir: Path) -> None:
    """Of two deployments at the same moment at most one is a conflict, and the file is the live version's code."""
    rounds = 12
    both = [python(DEPLOY_AT_ONCE, url, tools_dir, str(number), str(rounds)) for number in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outcomes = []
    for _ in range(rounds):
        for process in both:
            go_on(process)
        outcomes.append(sorted(process.stdout.readline().strip() for process in both if process.stdout))
        live = store.versions.live("my_tool")
        assert live is not None
        assert store.versions.get("my_tool", live.version_number).code == (tools_dir / "my_tool.py").read_bytes()
    for process in both:
        finished(process)
    assert all("deployed" in outcome and set(outcome) <= {"conflict", "deployed"} for outcome in outcomes), outcomes
    deployed = sum(outcome.count("deployed") for outcome in outcomes)
    assert len(store.versions.deployments("my_tool")) == deployed
    assert len(store.versions.history("my_tool")) == 2 * rounds  # what lost is kept as well


FIRST_START = """
import sys
from rollguard import ExecutionStore, ToolRegistry
store = ExecutionStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
registry = ToolRegistry(sys.argv[2], store=store)
print(sorted(registry.get_all_tools()), registry.problems)
"""


def test_first_start_of_several_at_once(store: ExecutionStore, url: str, tools_dir: Path) -> None:
    """Processes that find the same files at the same first start adopt each once."""
    names = [f"tool_{n}" for n in range(8)]
    for name in names:
        (tools_dir / f"{name}.py").write_text(f"def {name}(): ...\n")
    assert at_once([python(FIRST_START, url, tools_dir) for _ in range(3)]) == [f"{names} {{}}\n"] * 3
    for name in names:
        assert [d.version_number for d in store.versions.deployments(name)] == [1]
        assert [v.kind for v in store.versions.history(name)] == ["initial"]


STRESS_DEPLOY = """
import sys
from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import DeploymentConflict
url, tools, seed = sys.argv[1:]
registry = ToolRegistry(tools, store=ExecutionStore(url, busy_timeout=300))
print("ready", flush=True)
sys.stdin.readline()
for turn in range(10):
    mark = (turn * 7 + int(seed) * 3) % 5
    try:
        registry.deploy("my_tool", f"MARK = {mark}\\ndef my_tool():\\n    return MARK\\n")
    except DeploymentConflict:
        pass
"""

STRESS_CALL = """
import sys, time
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1], busy_timeout=300))
registry.call("my_tool")
print("ready", flush=True)
calls = 1
while (calls := calls + 1) and registry.call("my_tool") != 99:
    time.sleep(0.0005)  # else they take all of the processors from those that deploy
registry.recorder.flush()  # more calls than the buffer holds are possible: some wait in the spool, which both share
assert registry.recorder.lost == 0
print(calls)
"""


def test_deploying_and_calling_at_once(store: ExecutionStore, url: str, tools_dir: Path) -> None:
    """While processes deploy, restore and call, each execution is recorded under the version whose code it ran.

    The callers go on until they see the last version.
    """
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", "MARK = -1\ndef my_tool():\n    return MARK\n")
    callers = [python(STRESS_CALL, url, tools_dir) for _ in range(2)]
    deployers = [python(STRESS_DEPLOY, url, tools_dir, str(seed)) for seed in range(3)]
    for process in callers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    at_once(deployers)
    registry.deploy("my_tool", "MARK = 99\ndef my_tool():\n    return MARK\n")
    calls = sum(int(finished(process)) for process in callers)
    assert not registry.recorder.spool.pending
    marks = {
        version.version_number: int(version.code.decode().splitlines()[0].removeprefix("MARK = "))
        for version in store.versions.history("my_tool")
    }
    assert sorted(marks.values()) == [-1, 0, 1, 2, 3, 4, 99]
    rows = executions(store)
    assert len(rows) == calls
    assert all(row["success"] and row["result"] == marks[row["version_number"]] for row in rows)
    assert len({row["version_number"] for row in rows}) > 1
    live = store.versions.live("my_tool")
    assert live is not None
    assert store.versions.get("my_tool", live.version_number).code == (tools_dir / "my_tool.py").read_bytes()
