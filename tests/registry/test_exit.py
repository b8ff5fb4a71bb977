"""The end of a process: nothing of Rollguard goes on in it, nothing is lost, and nobody is told of what is no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollguard import ExecutionStore, ToolRegistry
from tests.conftest import code
from tests.processes import finished, python
from tests.registry.helpers import executions

# What is registered first is called last: after everything that Rollguard does at exit.
LAST = """
import atexit, sys, threading
def last():
    print("at the end:", {thread.name for thread in threading.enumerate() if thread.name.startswith("rollguard")})
    for thread in threading.enumerate():  # what was told to end does so by itself
        if thread.name.startswith("rollguard"):
            thread.join(300)
            assert not thread.is_alive(), thread
    print("ended")
atexit.register(last)
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], ExecutionStore(sys.argv[1]), durable=sys.argv[3] == "durable", flush_interval=3600)
"""

CALLS = """
print(registry.call("my_tool"))
print(sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("rollguard")))
"""

LATE = "atexit.register(lambda: print(registry.call('my_tool')))\n"


@pytest.mark.parametrize("late", [False, True], ids=["called before", "called at exit"])
@pytest.mark.parametrize("durable", ["durable", "buffered"])
def test_threads_end_with_the_process(
    store: ExecutionStore, url: str, tools_dir: Path, durable: str, *, late: bool
) -> None:
    """A process that ends without closing anything ends its threads, stores what it recorded, and logs nothing."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    process = python(LAST + (LATE if late else "") + CALLS, url, tools_dir, durable)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    running = ["rollguard-following"] if durable == "durable" else ["rollguard-following", "rollguard-recorder"]
    *said, at_the_end, ended = out.splitlines()
    assert said == ["1", str(running), *(["1"] if late else [])]
    assert at_the_end in ("at the end: set()", "at the end: {'rollguard-following'}")  # which says nothing any more
    assert ended == "ended"
    assert len(executions(store)) == 1 + late


AWAY = """
from rollguard.errors import StoreUnavailable
def refuse(*_rows, **_how):
    raise StoreUnavailable("away")
registry.store.executions.write = refuse
for x in range(3):
    registry.call("my_tool", x=x)
"""


def test_what_could_not_be_stored_waits(store: ExecutionStore, url: str, tools_dir: Path) -> None:
    """What a process could not store until its end waits in the spool, and its threads have ended all the same."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    assert finished(python(LAST + AWAY, url, tools_dir, "buffered")).splitlines()[-1] == "ended"
    assert executions(store) == []
    registry = ToolRegistry(tools_dir, store=store)
    assert sorted(row["result"] for row in executions(store)) == [1, 2, 3]
    assert not registry.recorder.spool.pending
