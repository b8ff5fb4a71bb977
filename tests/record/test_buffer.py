"""The buffer between a call and the database: nobody waits, nothing is lost, and everybody who reads sees it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.model.execution import Execution
from rollguard.record import Note, Recorder, Spool
from tests.conftest import NOW, code
from tests.processes import finished, python


def _note(number: int = 0, *, success: bool = True, error: str | None = None) -> Note:
    return ("my_tool", success, 1.5, error, None, None, None, NOW.timestamp() + number, None, None, None, None, None)


def _rows(store: ExecutionStore) -> int:
    """How many executions are in the database itself, without asking the buffer to be emptied first."""
    if store.database.path is None:
        import psycopg

        url = store.database.url.render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT COUNT(*) FROM tool_executions").fetchone()
    else:
        with sqlite3.connect(store.database.path) as file:
            found = file.execute("SELECT COUNT(*) FROM tool_executions").fetchone()
        file.close()
    assert found is not None
    return int(found[0])


@pytest.fixture
def idle(store: ExecutionStore, tmp_path: Path) -> Recorder:
    """A recorder whose thread leaves the notes alone for an hour."""
    return Recorder(store, Spool(tmp_path / "spool.jsonl"), flush_interval=3600)


def test_a_call_does_not_wait_for_the_database(idle: Recorder, store: ExecutionStore) -> None:
    """A note is only left in the buffer; who reads from the store sees it all the same."""
    for number in range(3):
        idle.note(_note(number))
    assert _rows(store) == 0
    assert store.executions.tool_names() == ["my_tool"]
    assert _rows(store) == 3


def test_the_thread_stores_within_the_interval(store: ExecutionStore, tmp_path: Path) -> None:
    """Without anybody reading, a note is stored by the recorder's thread, again and again."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), flush_interval=0.001)
    deadline = time.monotonic() + 300
    for number in range(1, 4):
        recorder.note(_note(number))
        while _rows(store) < number:
            assert time.monotonic() < deadline


def test_a_full_buffer_spills_to_the_spool(store: ExecutionStore, tmp_path: Path) -> None:
    """What does not fit into the buffer waits on disk, and all of it is stored once."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), flush_interval=3600, buffer_size=10)
    for number in range(25):
        recorder.note(_note(number))
    assert recorder.spool.pending
    assert recorder.flush() == 25
    assert (_rows(store), recorder.lost, recorder.spool.pending) == (25, 0, False)


def test_durable_is_stored_before_the_call_returns(store: ExecutionStore, tools_dir: Path) -> None:
    """With `durable` each call is in the database when it returns."""
    registry = ToolRegistry(tools_dir, store=store, durable=True)
    registry.deploy("my_tool", code(1))
    for number in (1, 2):
        registry.call("my_tool", x=number)
        assert _rows(store) == number


def test_closing_the_store_empties_the_buffer(store: ExecutionStore, idle: Recorder) -> None:
    """A store that is closed has everything that was recorded."""
    idle.note(_note())
    store.close()
    assert _rows(store) == 1


def test_a_recorder_that_goes_away_leaves_nothing_behind(store: ExecutionStore, tmp_path: Path) -> None:
    """When a registry is given up, what it recorded is stored."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), flush_interval=3600)
    recorder.note(_note())
    del recorder
    assert _rows(store) == 1


def test_many_threads_lose_nothing(store: ExecutionStore, tools_dir: Path) -> None:
    """Calls from many threads, while others read, are each recorded once."""
    registry = ToolRegistry(tools_dir, store=store, flush_interval=0.001, buffer_size=50)
    registry.deploy("my_tool", code(1))
    monitor = DeploymentMonitor(execution_store=store, tool_registry=registry)
    session_id = monitor.start_monitoring("my_tool", NOW)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            monitor.check_health("my_tool", session_id)

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: registry.call("my_tool", x=x), range(800)))
    done.set()
    reader.join()
    assert results == [x + 1 for x in range(800)]
    registry.recorder.flush()
    assert (_rows(store), registry.recorder.lost) == (800, 0)


async def test_async_calls_are_recorded(store: ExecutionStore, tools_dir: Path) -> None:
    """Calls from an event loop are each recorded once."""
    registry = ToolRegistry(tools_dir, store=store)
    registry.deploy("my_tool", code(1))
    await asyncio.gather(*(registry.acall("my_tool", x=x) for x in range(50)))
    await asyncio.to_thread(registry.recorder.flush)
    assert _rows(store) == 50


START = """
import os, signal, sys
from rollguard import ExecutionStore, ToolRegistry
registry = ToolRegistry(sys.argv[2], store=ExecutionStore(sys.argv[1]), flush_interval=60)
for x in range(20):
    registry.call("my_tool", x=x)
"""

ENDINGS = {
    "the end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise ValueError('boom')", 1),
    "SIGTERM": (
        "from rollguard.record import install_signal_handlers\n"
        "assert install_signal_handlers()\nos.kill(os.getpid(), signal.SIGTERM); signal.pause()",
        -signal.SIGTERM,
    ),
    "a forked child of multiprocessing": (
        "import multiprocessing as m\n"
        "def work():\n    for x in range(5): registry.call('my_tool', x=x)\n"
        "child = m.get_context('fork').Process(target=work)\nchild.start(); child.join(); sys.exit(child.exitcode)",
        0,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_everything_is_stored_at_the_end(url: str, store: ExecutionStore, tools_dir: Path, ending: str) -> None:
    """However a process ends, short of a SIGKILL, what it recorded is stored, and it ends as it would have ended."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    last, exit_code = ENDINGS[ending]
    process = python(START + last, url, tools_dir)
    process.communicate(timeout=300)
    assert process.returncode == exit_code
    assert _rows(store) == (25 if "forked" in ending else 20)


def test_a_kill_loses_at_most_the_interval(url: str, store: ExecutionStore, tools_dir: Path) -> None:
    """A SIGKILL loses what came since the buffer was last emptied, and nothing before it."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    process = python(
        START + "registry.recorder.flush()\nregistry.call('my_tool', x=1)\nos.kill(os.getpid(), signal.SIGKILL)",
        url,
        tools_dir,
    )
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert _rows(store) == 20


def test_a_fork_stores_its_own_and_nobody_elses(url: str, store: ExecutionStore, tools_dir: Path) -> None:
    """A forked child does not store what its parent noted; each stores its own calls once."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    forked = (
        "pid = os.fork()\n"
        "for x in range(7): registry.call('my_tool', x=x)\n"
        "registry.recorder.flush()\n"
        "os._exit(0) if pid == 0 else os.waitpid(pid, 0)"
    )
    process = python(START + forked, url, tools_dir)
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert _rows(store) == 20 + 7 + 7


def test_a_handler_of_the_programs_own_is_left_alone(url: str, store: ExecutionStore, tools_dir: Path) -> None:
    """A program that handles SIGTERM itself keeps its handler."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    own = START.replace("registry =", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\nregistry =")
    asked = "from rollguard.record import install_signal_handlers\nassert not install_signal_handlers()\n"
    process = python(own + asked + "os.kill(os.getpid(), signal.SIGTERM); signal.pause()", url, tools_dir)
    process.communicate(timeout=300)
    assert process.returncode == 9
    assert _rows(store) == 20


BUILD_EVERYTHING = """
import importlib, pkgutil, signal, sys, threading
def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}
before = handlers()
import rollguard
for module in pkgutil.walk_packages(rollguard.__path__, "rollguard."):
    if "migrations" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from rollguard.app import Rollguard
from rollguard.settings import Settings
guard = Rollguard(Settings.load(None, {"ROLLGUARD_DATABASE": sys.argv[1], "ROLLGUARD_TOOLS_DIR": sys.argv[2]}))
@guard.tool
def recorded():
    return 1
@rollguard.tool(store=guard.store)
def recorded_too():
    return 1
recorded(), recorded_too(), guard.registry.call("my_tool")
guard.monitor.start_monitoring("my_tool", guard.store.versions.live("my_tool").deployed_at)
guard.monitor.auto_rollback_if_needed("my_tool", 1)
assert handlers() == before
thread = threading.Thread(target=lambda: print(guard.install_signal_handlers()))
thread.start(), thread.join()
assert handlers() == before
assert guard.install_signal_handlers()
assert {number for number, handler in handlers().items() if handler != before[number]} == {signal.SIGTERM}
guard.close()
"""


def test_no_handler_is_installed_unasked(url: str, store: ExecutionStore, tools_dir: Path) -> None:
    """Importing and building everything, calls and checks leave every signal's handler as it is; asking does not."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    assert finished(python(BUILD_EVERYTHING, url, tools_dir)).strip() == "False"


def test_sigterm_where_only_threads_call(url: str, store: ExecutionStore, tools_dir: Path) -> None:
    """SIGTERM empties the buffer also where no call came from the main thread, as in a server."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    in_thread = (
        "import threading\n"
        "thread = threading.Thread(target=lambda: [registry.call('my_tool', x=x) for x in range(20)])\n"
        "thread.start(); thread.join()\n"
    )
    process = python(START.partition("for x")[0] + in_thread + ENDINGS["SIGTERM"][0], url, tools_dir)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM
    assert _rows(store) == 20


def test_calls_at_exit(url: str, store: ExecutionStore, tools_dir: Path) -> None:
    """What the program calls at its very end, after the buffer was emptied, is stored too."""
    ToolRegistry(tools_dir, store=store).deploy("my_tool", code(1))
    late = "import atexit\natexit.register(lambda: [registry.call('my_tool', x=x) for x in range(5)])\n"
    process = python(late + START, url, tools_dir)
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert _rows(store) == 25


def test_no_thread_can_be_started(
    store: ExecutionStore, tools_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system gives no further thread, calls return as ever, and each is stored."""
    registry = ToolRegistry(tools_dir, store=store, follow=False)
    registry.deploy("my_tool", code(1))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert [registry.call("my_tool", x=x) for x in range(3)] == [1, 2, 3]
    assert _rows(store) == 3
    assert "no thread can be started" in caplog.text


def test_a_reader_does_not_wait_for_callers_who_go_on(store: ExecutionStore, tmp_path: Path) -> None:
    """Who reads waits for what was noted before, and not for what is noted meanwhile, however fast that comes."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), flush_interval=3600, batch_size=2)
    write, writers = store.executions.write, list[int]()

    def write_while_others_call(rows: list[Execution], *, durable: bool = False) -> int:
        writers.append(threading.get_ident())
        if len(writers) < 100:
            for _ in range(3):
                recorder.note(_note())
        return write(rows, durable=durable)

    store.executions.write = write_while_others_call  # type: ignore[method-assign, assignment]
    recorder.note(_note())
    assert store.executions.tool_names() == ["my_tool"]
    assert writers.count(threading.get_ident()) <= 2  # the rest is the thread's to store
    recorder.finish()  # its thread would otherwise look for a database that is gone


@pytest.mark.parametrize("stored", [True, False], ids=["just stored", "not stored yet"])
def test_an_interruption_loses_nothing(store: ExecutionStore, idle: Recorder, *, stored: bool) -> None:
    """Ctrl-C while a reader waits for the buffer to be emptied loses no execution and doubles none."""
    write = store.executions.write

    def interrupted(rows: list[Execution], *, durable: bool = False) -> int:
        store.executions.write = write  # type: ignore[method-assign]
        if stored:
            write(rows, durable=durable)
        raise KeyboardInterrupt

    for number in range(5):
        idle.note(_note(number))
    store.executions.write = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        store.executions.tool_names()
    idle.flush()
    assert (_rows(store), idle.lost, idle.spool.pending) == (5, 0, False)


def test_a_batch_does_not_wait_for_the_interval(store: ExecutionStore, tmp_path: Path) -> None:
    """As soon as a batch has come together it is stored, however long the interval is."""
    recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), flush_interval=3600, batch_size=10)
    for number in range(10):
        recorder.note(_note(number))
    deadline = time.monotonic() + 300
    while _rows(store) < 10:
        assert time.monotonic() < deadline


class Text(str):
    """What some library calls a string."""

    __slots__ = ()

    def isascii(self) -> bool:
        raise ValueError("not now")


def test_a_note_that_cannot_be_stored(store: ExecutionStore, idle: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """A call that cannot be made a row is logged and counted as lost, and takes no other one with it."""
    idle.note(_note())
    idle.note(_note(success=False, error=Text("boom")))
    idle.note(_note())
    assert idle.flush() == 2
    assert (_rows(store), idle.lost) == (2, 1)
    assert "an execution of 'my_tool' could not be recorded" in caplog.text


def test_durable_reaches_the_disk(tmp_path: Path) -> None:
    """With `durable` SQLite waits for the disk at each commit, without it at checkpoints only."""
    for durable, synchronous in ((True, 2), (False, 1)):
        with ExecutionStore(f"sqlite:///{tmp_path}/{durable}.db") as store:
            recorder = Recorder(store, Spool(tmp_path / "spool.jsonl"), durable=durable, flush_interval=3600)
            recorder.note(_note())
            recorder.flush()
            with store.database.read() as connection:
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == synchronous
