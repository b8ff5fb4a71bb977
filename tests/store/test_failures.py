"""A database that is down, read-only or locked: a clear error, nothing lost, and the watch goes on when it is back."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import AutonomousLoop, DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import (
    RollguardError,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from tests.conftest import code
from tests.postgres import PostgresServer

NEW = "def my_tool(x: int) -> int:\n    raise ValueError('broken')\n"


class Outage:
    """A store that can be taken away and given back."""

    def __init__(self, url: str, away: Callable[[], None], back: Callable[[], None]) -> None:
        self.url, self.away, self.back = url, away, back


def _locked(file: Path) -> sqlite3.Connection:
    """A connection that keeps everybody else from the file, readers too."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.fixture(params=["sqlite locked", "sqlite gone", "postgresql stopped"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    """The ways in which a database goes away and comes back."""
    file = tmp_path / "data" / "rollguard.db"
    file.parent.mkdir()
    if request.param == "sqlite locked":
        locks: list[sqlite3.Connection] = []
        yield Outage(f"sqlite:///{file}", lambda: locks.append(_locked(file)), lambda: locks.pop().close())
        for lock in locks:
            lock.close()
    elif request.param == "sqlite gone":
        aside = tmp_path / "aside"
        yield Outage(
            f"sqlite:///{file}",
            lambda: file.parent.rename(aside) and None,
            lambda: aside.rename(file.parent) and None,
        )
    else:
        server = PostgresServer()
        yield Outage(server.new_database(), server.server.stop, server.server.start)
        server.stop()


def _system(outage: Outage, tmp_path: Path) -> tuple[ExecutionStore, ToolRegistry, DeploymentMonitor]:
    store = ExecutionStore(outage.url, busy_timeout=0.05)
    registry = ToolRegistry(tmp_path / "tools", store=store)
    return store, registry, DeploymentMonitor(execution_store=store, tool_registry=registry)


def test_an_outage_loses_nothing(outage: Outage, tmp_path: Path) -> None:
    """While the database is away calls go on and are kept, changes are refused whole, and afterwards all is there."""
    store, registry, monitor = _system(outage, tmp_path)
    registry.deploy("my_tool", code(1))
    session_id = monitor.start_monitoring("my_tool", datetime.now(UTC))
    registry.call("my_tool", x=1)
    store.close()
    outage.away()
    for attempt in (
        lambda: registry.deploy("my_tool", NEW),
        lambda: monitor.check_health("my_tool", session_id),
        lambda: monitor.auto_rollback_if_needed("my_tool", session_id),
        lambda: monitor.start_monitoring("my_tool", datetime.now(UTC)),
        lambda: monitor.roll_back("my_tool", reason="r"),
        lambda: store.store_tool_execution(tool_name="my_tool", success=True),
    ):
        with pytest.raises(StoreUnavailable) as refused:
            attempt()
        assert str(store.database) in str(refused.value)
    assert [registry.call("my_tool", x=i) for i in range(5)] == [i + 1 for i in range(5)]
    assert registry.folder.file("my_tool").read_text() == code(1)
    outage.back()
    registry.recorder.flush()
    assert registry.recorder.lost == 0
    report = monitor.check_health("my_tool", session_id)
    assert report["current"]["total_executions"] == 6
    assert [v.version_number for v in store.versions.history("my_tool")] == [1]
    assert [s.session_id for s in monitor.get_active_sessions()] == [session_id]
    store.close()


async def test_the_watch_goes_on_when_the_database_is_back(outage: Outage, tmp_path: Path) -> None:
    """A running watch survives an outage of its database and rolls back what needs it afterwards."""
    store, registry, monitor = _system(outage, tmp_path)
    registry.deploy("my_tool", code(1))
    for i in range(20):
        registry.call("my_tool", x=i)
    registry.recorder.flush()  # or the recorder's thread may hold the file's lock for longer than is waited for here
    registry.deploy("my_tool", NEW)
    session_id = monitor.start_monitoring("my_tool", datetime.now(UTC))
    for i in range(20):
        with pytest.raises(ValueError, match="broken"):
            registry.call("my_tool", x=i)
    store.close()
    await asyncio.to_thread(outage.away)
    loop = AutonomousLoop(monitor, check_interval_seconds=1)
    running = asyncio.create_task(loop.run(handle_signals=False))
    while loop.stats["errors"] == 0:
        assert not running.done()
        await asyncio.sleep(0.01)
    await asyncio.to_thread(outage.back)
    deadline = asyncio.get_running_loop().time() + 300
    while loop.stats["rollbacks_triggered"] == 0:
        assert not running.done()
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    loop.stop()
    await running
    assert monitor.get_session(session_id).status == "rolled_back"
    assert registry.call("my_tool", x=1) == 2
    store.close()


def test_a_locked_store_says_so(tmp_path: Path) -> None:
    """A SQLite file that another process keeps locked raises `StoreBusy`, and nothing is written."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db", busy_timeout=0.05) as store:
        lock = sqlite3.connect(tmp_path / "rollguard.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="locked by another process"):
            store.store_tool_execution(tool_name="t", success=True)
        lock.close()
        assert store.executions.tool_names() == []


def test_a_read_only_file_says_so(tmp_path: Path) -> None:
    """A SQLite file opened read-only can be read, and refuses a write with what to do."""
    path = tmp_path / "rollguard.db"
    with ExecutionStore(f"sqlite:///{path}") as store:
        store.store_tool_execution(tool_name="t", success=True)
    with ExecutionStore(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert store.executions.tool_names() == ["t"]
        with pytest.raises(StoreReadOnly, match="make it writable"):
            store.store_tool_execution(tool_name="u", success=True)
        assert store.executions.tool_names() == ["t"]


def test_a_read_only_server_says_so(postgres: PostgresServer) -> None:
    """A PostgreSQL server that takes no writes (a standby) refuses a write with what to do."""
    url = postgres.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with ExecutionStore(url) as store:
        assert store.executions.tool_names() == []
        with pytest.raises(StoreReadOnly, match="make it writable"):
            store.store_tool_execution(tool_name="t", success=True)


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    """A SQLite file that cannot grow raises `StoreFull`; what was stored before is still there."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        store.store_tool_execution(tool_name="t", success=True)
        with store.database.write() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFull, match="disk space"):
            store.store_tool_executions({"tool_name": "u", "success": False, "error": "x" * 900} for _ in range(200))
        assert store.executions.tool_names() == ["t"]


def test_a_connection_that_was_cut_is_opened_again(postgres: PostgresServer) -> None:
    """When the PostgreSQL server drops our idle connections the next use simply works."""
    with ExecutionStore(postgres.new_database()) as store:
        store.store_tool_execution(tool_name="t", success=True)
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        postgres.execute(f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE {others}")
        store.store_tool_execution(tool_name="u", success=True)
        assert store.executions.tool_names() == ["t", "u"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/rollguard",
        "postgresql://postgres@/rollguard?host=/nowhere",
    ],
)
def test_a_server_that_is_not_there_says_so(url: str) -> None:
    """A PostgreSQL server that cannot be reached is named without its password."""
    with pytest.raises(StoreUnavailable, match="does not answer"):
        ExecutionStore(url)


def test_a_database_that_is_not_there_says_so(postgres: PostgresServer) -> None:
    """A PostgreSQL database that does not exist is an error that says what to check."""
    with pytest.raises(StoreUnavailable, match="nowhere"):
        ExecutionStore(postgres.url("nowhere"))


def test_a_password_is_never_shown() -> None:
    """Errors and descriptions of a store leave its password out."""
    with pytest.raises(StoreUnavailable) as refused:
        ExecutionStore("postgresql://me:secret@127.0.0.1:1/rollguard")
    assert "secret" not in str(refused.value)


def test_every_error_is_ours_and_says_what_to_do() -> None:
    """Every error of the module is a `RollguardError` with a sentence of its own."""
    import rollguard.errors as module

    errors = [e for e in vars(module).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(errors) > 15
    for error in errors:
        assert issubclass(error, RollguardError)
        assert (error.__doc__ or "").strip().endswith(".")
    assert issubclass(StoreUnavailable, StoreError)


def test_a_deadlock_is_nobodys_fault(postgres: PostgresServer) -> None:
    """What PostgreSQL gave up for another transaction's sake can be tried again: the store was busy."""
    with ExecutionStore(postgres.new_database()) as store:
        for state in ("40P01", "40001"):
            raised = sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'given up' USING ERRCODE = '{state}'; END $$")
            with pytest.raises(StoreBusy, match="given up"), store.database.write() as connection:
                connection.execute(raised)


def test_a_connection_that_is_in_use_is_closed_when_it_is_given_back(postgres: PostgresServer) -> None:
    """A thread that uses a connection while the store is closed leaves none open behind it."""
    store, inside, go_on = ExecutionStore(postgres.new_database()), threading.Event(), threading.Event()
    used: list[Any] = []

    def use() -> None:
        with store.database.read() as connection:
            used.append(connection.connection.driver_connection)
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=use)
    thread.start()
    assert inside.wait(60)
    store.close()
    assert not used[0].closed
    go_on.set()
    thread.join()
    assert used[0].closed


def test_a_connection_that_is_opened_while_the_store_closes_is_closed(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that begin to read while the store is closed leave no connection open, whenever they end."""
    store = ExecutionStore(postgres.new_database())
    engine, opened = store.database._engine, list[Any]()
    pool, dispose = engine.pool, engine.dispose

    def meanwhile() -> None:
        dispose()
        opened.extend(pool.connect() for _ in range(2))  # threads that were to use the pool before it was replaced
        held.extend(connection.dbapi_connection for connection in opened)
        opened.pop().close()

    held: list[Any] = []
    monkeypatch.setattr(engine, "dispose", meanwhile)
    store.close()
    opened.pop().close()
    assert [connection.closed for connection in held] == [True, True]


def test_a_store_that_is_gone_leaves_no_connection_open(postgres: PostgresServer) -> None:
    """A store that was never closed, or used again after it was, closes its connections when nothing refers to it."""
    store = ExecutionStore(postgres.new_database())
    store.close()
    with store.database.read() as connection:
        held = connection.connection.driver_connection
    assert held is not None
    assert not held.closed
    del connection, store
    gc.collect()
    assert held.closed


def test_a_limit_of_time_ends_with_its_read(postgres: PostgresServer) -> None:
    """A server that is too slow to lift the limit of a read does not leave it to the next read or write."""

    def slow(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return statement.replace("RESET statement_timeout", "SELECT pg_sleep(60); RESET statement_timeout"), parameters

    def limit() -> Any:
        with database.read() as connection:
            return connection.scalar(sa.text("SHOW statement_timeout"))

    with ExecutionStore(postgres.new_database()) as store:
        database = store.database
        usual = limit()
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", slow, retval=True)
        try:
            with database.read(within=0.01):
                pass
        finally:
            sa.event.remove(sa.engine.Engine, "before_cursor_execute", slow)
        assert limit() == usual


def test_a_process_takes_few_connections(postgres: PostgresServer) -> None:
    """However many threads read at once, a process has eight connections, and the others wait for their turn."""

    def connection_of(_number: int) -> int:
        start.wait()
        with store.database.read() as connection:
            return int(connection.execute(sa.text("SELECT pg_backend_pid() FROM pg_sleep(0.05)")).scalar_one())

    with ExecutionStore(postgres.new_database()) as store, ThreadPoolExecutor(20) as threads:
        start = threading.Barrier(20)
        assert len(set(threads.map(connection_of, range(20)))) <= 8
