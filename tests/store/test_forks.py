"""A process that forks while it uses a store, and what its children store."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from rollguard import ExecutionStore
from rollguard.store.database.fork_gate import sqlite_gate
from tests.processes import finished, python

WRITING = """
import os, sys, threading
from rollguard import ExecutionStore
store = ExecutionStore(sys.argv[1])
done, stored = threading.Event(), []
def write():
    while not done.is_set():
        stored.append(store.store_tool_executions({"tool_name": "parent", "success": True} for _ in range(50)))
threads = [threading.Thread(target=write) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        store.store_tool_execution(tool_name="child", success=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in threads: thread.join()
print(sum(stored))
"""

OUTLIVED = """
import os, sys
from rollguard import ExecutionStore
store = ExecutionStore(sys.argv[1])
store.store_tool_execution(tool_name="parent", success=True)
opened, mine = os.pipe()
yours, closed = os.pipe()
pid = os.fork()
if pid == 0:
    store.store_tool_execution(tool_name="child", success=True)
    os.write(mine, b"1")
    os.read(yours, 1)
    store.store_tool_execution(tool_name="child", success=True)
    os._exit(0)
os.read(opened, 1)
store.close()
os.write(closed, b"1")
assert os.waitpid(pid, 0)[1] == 0
"""


def _stored(store: ExecutionStore) -> dict[str, int]:
    import sqlalchemy as sa

    with store.database.read() as connection:
        found = connection.execute(sa.text("SELECT tool_name, COUNT(*) FROM tool_executions GROUP BY tool_name"))
        return {row[0]: row[1] for row in found}


def test_a_fork_in_the_midst_of_writing(url: str, store: ExecutionStore) -> None:
    """A child that is forked while other threads write stores what it records, and so do they."""
    stored = int(finished(python(WRITING, url)))
    assert _stored(store) == {"parent": stored, "child": 12}


def test_a_child_outlives_its_parents_store(url: str) -> None:
    """When the parent closes its store, the last one but for the child's, what the child stores is not lost."""
    finished(python(OUTLIVED, url))
    with ExecutionStore(url) as store:
        assert _stored(store) == {"parent": 1, "child": 2}


def test_a_fork_inside_a_transaction(tmp_path: Path) -> None:
    """A child that is forked inside of its own transaction is told not to use the store; the parent goes on."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        store.store_tool_execution(tool_name="parent", success=True)
        with store.database.read():
            told, tell = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    store.store_tool_execution(tool_name="child", success=True)
                except BaseException as error:  # noqa: BLE001 - a child must not go on with the tests
                    os.write(tell, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            os.waitpid(pid, 0)
            os.close(tell)
            with os.fdopen(told) as said:
                assert said.read().startswith("StoreUnavailable: process ")
        assert _stored(store) == {"parent": 1}


@pytest.mark.parametrize("opened", [True, False])
def test_connections_before_a_fork(tmp_path: Path, *, opened: bool) -> None:
    """A fork finds no open connection, whichever part of the store made it, and each makes a new one afterwards."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        arrivals, moves = store.arrivals(), store.pointers.moves()
        if opened:
            arrivals.wait(0)
            moves.wait(0)
        store.store_tool_execution(tool_name="t", success=True)
        sqlite_gate.shut()
        try:
            assert not (tmp_path / "rollguard.db-wal").exists()  # the last connection takes the log away
        finally:
            sqlite_gate.open()
        store.store_tool_execution(tool_name="u", success=True)
        if opened:
            assert arrivals.wait(10) == {"t", "u"}
            assert moves.wait(0) is False
        arrivals.close()
        moves.close()
        with sqlite3.connect(tmp_path / "rollguard.db") as file:
            assert file.execute("SELECT COUNT(*) FROM tool_executions").fetchone() == (2,)
        file.close()
