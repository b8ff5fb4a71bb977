"""Functions that record themselves: from threads, event loops, forked children and processes that end."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollguard import ExecutionStore, tool
from rollguard.record.instrument import recorder_of
from tests.processes import finished, python
from tests.registry.helpers import executions

SCRIPT = """
import os, sys
from rollguard import ExecutionStore, tool
store = ExecutionStore(sys.argv[1])

@tool(store=store)
def my_tool(x):
    return x

for x in range(5):
    my_tool(x)
"""
FORK = """
pid = os.fork()
for x in range(7):
    my_tool(x)
if pid:
    os.waitpid(pid, 0)
else:
    from rollguard.record.instrument import recorder_of
    recorder_of(store).flush()
    os._exit(0)
"""


@pytest.mark.parametrize(("rest", "calls"), [("", 5), ("sys.exit(0)", 5), (FORK, 5 + 7 + 7)])
def test_the_end_of_a_process(url: str, store: ExecutionStore, rest: str, calls: int) -> None:
    """What was recorded is stored when the process ends, by each process its own."""
    finished(python(SCRIPT + rest, url))
    assert len(executions(store)) == calls


def test_threads_and_event_loops(store: ExecutionStore) -> None:
    """Calls from many threads, and many at once in an event loop, are each recorded once."""

    @tool(store=store)
    def plainly(x: int) -> int:
        return x

    @tool(store=store)
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    async def many() -> list[int]:
        return await asyncio.gather(*map(later, range(100)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(plainly, range(400))) == list(range(400))
    assert asyncio.run(many()) == list(range(100))
    rows = executions(store)
    for name, expected in (("plainly", 400), ("later", 100)):
        assert sorted(row["result"] for row in rows if row["tool_name"] == name) == list(range(expected))


def test_one_recorder_a_store(store: ExecutionStore, url: str) -> None:
    """The functions of a store share its recorder; the spool of each database is its own."""
    first = recorder_of(store)
    assert recorder_of(store) is first
    with ExecutionStore(url) as same, ExecutionStore("sqlite://") as other:
        assert recorder_of(same) is not first
        assert recorder_of(same).spool.path == first.spool.path
        assert recorder_of(other).spool.path != first.spool.path


def test_while_the_database_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call while the database is away returns as ever, waits in the spool beside it, and is stored later."""
    store = ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db", busy_timeout=0)

    @tool(store=store)
    def my_tool() -> int:
        return 1

    os.rename(tmp_path / "rollguard.db", tmp_path / "away.db")  # noqa: PTH104
    store.close()
    (tmp_path / "rollguard.db").mkdir()
    recorder = recorder_of(store)
    assert my_tool() == 1
    recorder.empty()
    assert recorder.spool.pending
    assert recorder.spool.path.parent == tmp_path / ".rollguard"
    (tmp_path / "rollguard.db").rmdir()
    os.rename(tmp_path / "away.db", tmp_path / "rollguard.db")  # noqa: PTH104
    assert recorder.flush() == 1
    assert len(executions(store)) == 1
    store.close()
