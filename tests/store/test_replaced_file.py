"""A SQLite file that changes under a running process: seen at the next use, reported, and nothing acknowledged lost."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard import AutonomousLoop, DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import NotARollguardStore, SchemaDamaged, StoreReadOnly, StoreUnavailable
from rollguard.record import Recorder, Spool
from rollguard.store.database import folder_lock, sqlite_file
from tests.conftest import code


@pytest.fixture
def file(tmp_path: Path, sqlite_template: Path) -> Path:
    """A store's file, with nothing in it."""
    path = tmp_path / "rollguard.db"
    path.write_bytes(sqlite_template.read_bytes())
    return path


@pytest.fixture
def opened(file: Path) -> Iterator[ExecutionStore]:
    """The store, opened by this process."""
    with contextlib.ExitStack() as ended:
        store = ExecutionStore(f"sqlite:///{file}", busy_timeout=0.05)
        ended.callback(store.close)
        yield store


def backup(file: Path) -> Path:
    """A copy as SQLite makes it, of what is committed."""
    copy = file.with_name("backup.db")
    copy.unlink(missing_ok=True)
    connection = sqlite3.connect(file)
    connection.execute("VACUUM INTO ?", (str(copy),))
    connection.close()
    return copy


def stored(file: Path) -> list[str]:
    """The tools of the executions in the file at this path, as any other program reads them."""
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = connection.execute("SELECT tool_name FROM tool_executions ORDER BY id").fetchall()
    connection.close()
    return [name for (name,) in rows]


def record(store: ExecutionStore, name: str) -> None:
    store.store_tool_execution(tool_name=name, success=True)


def test_a_restored_backup_is_used_at_once(
    opened: ExecutionStore, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is written after a backup was put in the file's place is in it, undamaged by the old file's log."""
    record(opened, "before")
    copy = backup(file)
    for _ in range(300):
        record(opened, "after")
    with caplog.at_level(logging.WARNING):
        copy.replace(file)
        record(opened, "new")
    assert stored(file) == ["before", "new"]
    assert opened.executions.tool_names() == ["before", "new"]
    assert "was replaced" in caplog.text


def former_log(opened: ExecutionStore, file: Path) -> sqlite3.Connection:
    """Replace the file by a backup, whose pages the former one's log does not fit; who holds the log open."""
    record(opened, "before")
    copy = backup(file)
    other = sqlite3.connect(file)
    other.executescript("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'tool_executions';")
    os.utime(copy, (0, 0))  # it was made long ago
    copy.replace(file)
    return other


def test_a_process_that_starts_at_the_instant_of_a_new_file(opened: ExecutionStore, file: Path) -> None:
    """It waits until a process that knows the former file puts its log aside; SQLite would write that into the new."""
    with contextlib.closing(former_log(opened, file)):
        names = (
            "from rollguard import ExecutionStore; print(ExecutionStore(f'sqlite:///{file}').executions.tool_names())"
        )
        patient = "from rollguard.store.database import sqlite_file; sqlite_file._SETTLED = 600"  # it may start slowly
        program = f"file = {str(file)!r}; import logging; logging.basicConfig(); {patient}; {names}"
        with subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True) as starting:
            assert starting.stderr is not None
            assert "just put in its place" in starting.stderr.readline()
            record(opened, "new")
            assert starting.communicate(timeout=60)[0].startswith("['before'")
    assert stored(file) == ["before", "new"]


def test_who_waits_for_executions_never_opens_a_new_file_with_the_former_log(
    opened: ExecutionStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own connection is opened like every other: not if the file was replaced since it looked."""
    with contextlib.closing(former_log(opened, file)), contextlib.closing(opened.arrivals()) as arrivals:
        monkeypatch.setattr(opened.database, "renew_if_replaced", lambda: None)  # it was replaced just after that
        with pytest.raises(StoreUnavailable, match="is being replaced"):
            arrivals.wait(0)
        monkeypatch.undo()
        record(opened, "new")
    assert stored(file) == ["before", "new"]


def test_a_store_that_is_opened_at_the_instant_of_a_new_file(opened: ExecutionStore, file: Path) -> None:
    """A process that knows the former file opens the new one without its log."""
    with contextlib.closing(former_log(opened, file)), contextlib.closing(ExecutionStore(f"sqlite:///{file}")) as store:
        record(store, "new")
    assert stored(file) == ["before", "new"]


def test_a_backup_beside_the_log_of_a_file_that_nobody_has_open(
    file: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not opened, as that log would be written into it, until a person moves the log away or says it belongs."""
    monkeypatch.setattr(sqlite_file, "_SETTLED", 0.0)
    log = file.with_name(f"{file.name}-wal")
    copy = file.with_name("backup.db")
    copy.write_bytes(sqlite_template.read_bytes())
    os.utime(copy, (0, 0))
    log.write_bytes(b"as a killed process leaves it")
    copy.replace(file)
    with pytest.raises(StoreUnavailable, match=r"move .*-wal away"):
        ExecutionStore(f"sqlite:///{file}")
    assert file.read_bytes() == sqlite_template.read_bytes()
    log.touch()
    ExecutionStore(f"sqlite:///{file}").close()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who has a file open")
@pytest.mark.parametrize("log", ["written later", "removed"])
def test_a_backup_while_another_process_uses_the_former_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    """It is not opened while that process goes on writing the former file's log, or its index without the log."""
    monkeypatch.setattr(sqlite_file, "_SETTLED", 0.0)
    program = (
        f"import sqlite3; other = sqlite3.connect({str(file)!r}, isolation_level=None); "
        "other.execute('PRAGMA journal_mode = WAL'); other.execute('BEGIN IMMEDIATE'); "
        "other.execute('CREATE TABLE late (a)'); print(flush=True); input(); "
        "other.execute('COMMIT'); print(flush=True); input()"
    )
    ExecutionStore(f"sqlite:///{file}").close()
    command = [sys.executable, "-I", "-c", program]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, bufsize=1) as writing:
        assert writing.stdin is not None
        assert writing.stdout is not None
        writing.stdout.readline()
        copy = backup(file)
        copy.replace(file)
        writing.stdin.write("\n")
        writing.stdout.readline()
        if log == "removed":  # as SQLite does when somebody opens a file that was emptied
            file.with_name(f"{file.name}-wal").unlink()
        with pytest.raises(StoreUnavailable, match="other processes still write the log"):
            ExecutionStore(f"sqlite:///{file}")
        writing.stdin.write("\n")
    file.with_name(f"{file.name}-wal").unlink(missing_ok=True)
    ExecutionStore(f"sqlite:///{file}").close()
    assert stored(file) == []


def test_an_empty_log_tells_nothing_of_its_file(opened: ExecutionStore, file: Path) -> None:
    """An empty log is not put aside, even if one was left behind: its inode is used again, and may be a new log's."""
    record(opened, "before")
    copy, log, kept = backup(file), file.with_name(f"{file.name}-wal"), file.with_name("kept")
    with contextlib.closing(sqlite3.connect(file)) as former:
        former.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        opened.close()
        kept.hardlink_to(log)
    copy.replace(file)
    kept.replace(log)
    program = (
        f"import sqlite3; other = sqlite3.connect({str(file)!r}); other.execute('PRAGMA journal_mode = WAL'); "
        "other.execute('SELECT 1 FROM tool_executions').fetchall(); print(flush=True); input(); "
        "other.execute('UPDATE tool_executions SET tool_name = tool_name || 2'); other.commit()"
    )
    with subprocess.Popen([sys.executable, "-I", "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        record(opened, "new")
        other.communicate("\n")
    assert other.returncode == 0
    assert stored(file) == ["before2", "new2"]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who has a file open")
def test_no_file_is_made_in_the_place_of_one_that_is_away(
    opened: ExecutionStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process uses the file that was moved away, a new process makes none: both would share one log."""
    monkeypatch.setattr(sqlite_file, "_SETTLED", 0.0)
    record(opened, "before")
    file.with_name(f"{file.name}-wal").write_bytes(b"")  # as after a checkpoint: there is a log, and nothing in it
    file.rename(aside := file.with_name("aside.db"))
    starting = f"import rollguard; rollguard.ExecutionStore({f'sqlite:///{file}'!r})"
    program = f"from rollguard.store.database import sqlite_file; sqlite_file._SETTLED = 0; {starting}"
    begun = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "other processes still write the log" in begun.stderr
    assert not file.exists()
    aside.rename(file)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who has a file open")
def test_an_emptied_file_that_another_process_uses_is_left_as_it_is(file: Path) -> None:
    """A new process makes no store in it, also where its log is empty: the two would share the log's index."""
    program = (
        f"import sqlite3; other = sqlite3.connect({str(file)!r}); other.execute('PRAGMA journal_mode = WAL'); "
        "other.execute('SELECT 1 FROM tool_executions').fetchall(); print(flush=True); input()"
    )
    whole = file.read_bytes()
    with subprocess.Popen([sys.executable, "-I", "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert not file.with_name(f"{file.name}-wal").stat().st_size
        os.truncate(file, 0)
        with pytest.raises(StoreUnavailable, match="was emptied"):
            ExecutionStore(f"sqlite:///{file}")
        assert not file.stat().st_size
        other.communicate("\n")
    file.write_bytes(whole)
    ExecutionStore(f"sqlite:///{file}").close()


def test_who_opens_a_file_waits_for_others(opened: ExecutionStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes open the file one after the other; one that is suspended at it delays others for a bounded time."""
    record(opened, "before")
    with suspended_at(file), monkeypatch.context() as patched:
        patched.setattr(folder_lock, "PATIENCE", 0.0)
        with pytest.raises(StoreUnavailable, match="another process, which does not go on"):
            ExecutionStore(f"sqlite:///{file}")
        assert opened.executions.tool_names() == ["before"]  # who has it open goes on
    ExecutionStore(f"sqlite:///{file}").close()


@contextlib.contextmanager
def suspended_at(file: Path) -> Iterator[None]:
    """Another process, which opens or closes the file and does not go on."""
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_who_closes_a_file_waits_for_who_opens_it(
    opened: ExecutionStore, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one to close removes the log by its path, where another file's may be by then; a wait is bounded."""
    record(opened, "before")
    monkeypatch.setattr(folder_lock, "PATIENCE", 600.0)
    with contextlib.closing(opened.arrivals()) as arrivals:
        arrivals.wait(0)
        ended, closing = (
            [],
            [threading.Thread(target=lambda e=each: ended.append(e.close())) for each in (opened, arrivals)],
        )
        with suspended_at(file):
            for thread in closing:
                thread.start()
            asked = time.monotonic() + 60
            while any(thread.is_alive() and not waits(thread) for thread in closing) and time.monotonic() < asked:
                threading.Event().wait(0.001)
            assert not ended
        for thread in closing:
            thread.join()
    record(opened, "after")
    with suspended_at(file), monkeypatch.context() as patched:
        patched.setattr(folder_lock, "PATIENCE", 0.0)
        opened.close()
    assert "closed all the same" in caplog.text
    assert stored(file) == ["before", "after"]


def waits(thread: threading.Thread) -> bool:
    """Whether a thread waits for the lock of the folder."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_filename != folder_lock.__file__:
        frame = frame.f_back
    return frame is not None


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who has a file open")
def test_a_backup_in_the_place_of_an_emptied_file_whose_log_sqlite_removed(
    opened: ExecutionStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process that sees it does without the former log's index, which another one still has open."""
    monkeypatch.setattr(sqlite_file, "_SETTLED", 0.0)
    record(opened, "before")
    copy = backup(file)
    program = f"import sqlite3; other = sqlite3.connect({str(file)!r}); "
    program += "other.execute('SELECT 1 FROM tool_executions').fetchall(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-I", "-c", program], stdin=-1, stdout=-1, text=True) as idle:
        assert idle.stdin is not None
        assert idle.stdout is not None
        idle.stdout.readline()
        os.truncate(file, 0)
        with contextlib.closing(sqlite3.connect(file)) as plain:
            plain.execute("SELECT * FROM sqlite_schema").fetchall()
        assert not file.with_name(f"{file.name}-wal").exists()
        copy.replace(file)
        record(opened, "new")
        idle.stdin.write("\n")
    assert stored(file) == ["before", "new"]


@pytest.mark.parametrize("change", ["moved away", "emptied"])
def test_a_log_whose_file_is_gone(opened: ExecutionStore, file: Path, change: str) -> None:
    """A process that starts meanwhile makes no new file beside it, so that nothing in the log is lost."""
    record(opened, "in the log")
    content, aside = file.read_bytes(), file.with_name("aside.db")
    if change == "emptied":
        os.truncate(file, 0)
    else:
        file.rename(aside)
    with pytest.raises(StoreUnavailable, match="put it back"):
        ExecutionStore(f"sqlite:///{file}")
    if change == "emptied":
        file.write_bytes(content)
    else:
        aside.rename(file)
    record(opened, "after")
    assert stored(file) == ["in the log", "after"]


def test_two_stores_of_one_file_agree(opened: ExecutionStore, file: Path) -> None:
    """Of two that notice the new file one removes the old one's log, and both write to the same file."""
    with ExecutionStore(f"sqlite:///{file}") as other:
        record(opened, "before")
        record(other, "before")
        copy = backup(file)
        record(other, "lost with the old file")
        copy.replace(file)
        record(opened, "one")
        record(other, "two")
        record(opened, "three")
    assert stored(file) == ["before", "before", "one", "two", "three"]


def test_a_file_that_is_replaced_during_a_transaction(opened: ExecutionStore, file: Path) -> None:
    """A commit to a file that is no longer there is not acknowledged."""
    copy = backup(file)
    with pytest.raises(StoreUnavailable, match="during a transaction"), opened.database.write() as connection:  # noqa: PT012
        connection.exec_driver_sql("INSERT INTO tool_executions (tool_name, success) VALUES ('ghost', TRUE)")
        copy.replace(file)
    record(opened, "new")
    assert stored(file) == ["new"]


def test_a_file_that_is_emptied_during_a_transaction(opened: ExecutionStore, file: Path) -> None:
    """A commit to it is not acknowledged, and writes nothing into it; a backup takes its place."""
    copy = backup(file)
    with pytest.raises(StoreUnavailable, match="during a transaction"), opened.database.write() as connection:  # noqa: PT012
        connection.exec_driver_sql("INSERT INTO tool_executions (tool_name, success) VALUES ('ghost', TRUE)")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 1")
        os.truncate(file, 0)
    assert file.stat().st_size == 0
    copy.replace(file)
    record(opened, "new")
    assert stored(file) == ["new"]


def shows_holes(folder: Path) -> bool:
    """Whether the file system tells at once how much a file occupies."""
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(2**20)
    return (folder / "sparse").stat().st_blocks * 512 < 2**19


@pytest.mark.parametrize("left", [0, 4096])
def test_a_file_that_a_checkpoint_makes_long_again(
    opened: ExecutionStore, file: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Its holes tell that it was cut off, to who commits and to others; it is refused until a backup is there."""
    if not shows_holes(file.parent):
        pytest.skip("this file system does not tell of holes")
    record(opened, "before")
    copy, size = backup(file), file.stat().st_size
    check, cut = sqlite_file.SqliteFile.refuse_ghost, iter([True])

    def check_and_cut_off(*arguments: Any, **more: Any) -> None:
        check(*arguments, **more)
        if next(cut, False):
            os.truncate(file, left)

    with contextlib.closing(ExecutionStore(f"sqlite:///{file}")) as other:
        record(other, "lost")
        for _ in range(10):  # else SQLite sees that the log is too short for the file, and does not write it there
            with opened.database.write() as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS large (a PRIMARY KEY, b)")
                connection.exec_driver_sql("INSERT OR REPLACE INTO large VALUES (1, randomblob(200000))")
        with (  # noqa: PT012
            pytest.raises(StoreUnavailable, match="cut off during a transaction"),
            opened.database.write() as connection,
        ):
            connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 1")
            connection.exec_driver_sql("INSERT INTO tool_executions (tool_name, success) VALUES ('ghost', TRUE)")
            monkeypatch.setattr(sqlite_file.SqliteFile, "refuse_ghost", check_and_cut_off)
        monkeypatch.undo()
        assert file.stat().st_size >= size
        for store in (opened, other, opened):
            with pytest.raises((StoreUnavailable, NotARollguardStore)):
                record(store, "meanwhile")
        copy.replace(file)
        record(opened, "after")
        record(other, "after")
    assert stored(file) == ["before", "after", "after"]


def test_a_file_that_a_vacuum_makes_shorter(opened: ExecutionStore, file: Path) -> None:
    """A commit whose checkpoint shortens the file is a good one, and what was counted is as it was."""
    if not shows_holes(file.parent):
        pytest.skip("this file system does not tell what a file occupies")
    for _ in range(3):
        with opened.database.write() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS large (a)")
            connection.exec_driver_sql("INSERT INTO large VALUES (randomblob(2000000))")
    record(opened, "before")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        opened.executions.tool_names()
        size = file.stat().st_size
        other.execute("DROP TABLE large")
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("VACUUM")
        with opened.database.write() as connection:
            connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 1")
            connection.exec_driver_sql("INSERT INTO tool_executions (tool_name, success) VALUES ('after', TRUE)")
        assert file.stat().st_size < size - 5_000_000
    record(opened, "later")
    assert stored(file) == ["before", "after", "later"]


@pytest.mark.parametrize("waiting", ["arrivals", "moves"])
def test_who_waits_makes_no_file(tmp_path: Path, waiting: str) -> None:
    """A store whose folder comes late is made by its first transaction, not by who waits for what is in it."""
    folder = tmp_path / "late"
    with contextlib.closing(ExecutionStore(f"sqlite:///{folder}/rollguard.db", must_answer=False)) as store:
        folder.mkdir()
        feed = store.arrivals() if waiting == "arrivals" else store.pointers.moves()
        with contextlib.closing(feed), contextlib.suppress(StoreUnavailable):
            feed.wait(0)
        record(store, "first")
        assert store.executions.tool_names() == ["first"]


def test_a_program_that_just_ends_closes_the_file_like_others(file: Path) -> None:
    """It waits for another process that opens the file, for a bounded time, like a program that closes its store."""
    program = (
        "from rollguard.store.database import folder_lock; folder_lock.PATIENCE = 0.0; import logging; "
        f"from rollguard import ExecutionStore; store = ExecutionStore({f'sqlite:///{file}'!r}); "
        "store.executions.tool_names(); logging.basicConfig(); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-1, text=True) as ending:
        assert ending.stdout is not None
        ending.stdout.readline()
        with suspended_at(file):
            assert "closed all the same" in ending.communicate("\n")[1]


@pytest.mark.parametrize("cut", [4096, 65_536, 400_000])
def test_each_part_that_is_cut_off_counts(opened: ExecutionStore, file: Path, cut: int) -> None:
    """A hole of a page is one, also after others, and a commit beside it is not acknowledged."""
    if not shows_holes(file.parent):
        pytest.skip("this file system does not tell of holes")
    record(opened, "before")
    size = file.stat().st_size
    with pytest.raises(StoreUnavailable, match="cut off"), opened.database.write() as connection:  # noqa: PT012
        connection.exec_driver_sql("INSERT INTO tool_executions (tool_name, success) VALUES ('ghost', TRUE)")
        os.truncate(file, size - cut)
        os.truncate(file, size)


def test_a_log_that_is_removed(opened: ExecutionStore, file: Path) -> None:
    """Where the write-ahead log is deleted under a process, it does not write on into what nobody else can see."""
    record(opened, "in the log")
    for log in ("-wal", "-shm"):
        file.with_name(file.name + log).unlink()
    record(opened, "after")
    assert stored(file) == ["in the log", "after"]


@pytest.mark.parametrize("durable", [False, True])
def test_calls_wait_while_the_file_is_gone(opened: ExecutionStore, file: Path, tmp_path: Path, durable: bool) -> None:
    """Calls made while the file is missing are spooled, and stored in what is put in its place; no file is made."""
    recorder = Recorder(opened, Spool(tmp_path / "spool.jsonl"), durable=durable, flush_interval=3600, retry_after=0.0)
    recorder.record(tool_name="before", success=True)
    copy = backup(file)
    file.unlink()
    for number in range(3):
        recorder.record(tool_name=f"meanwhile {number}", success=True)
    assert recorder.spool.pending
    assert not file.exists()
    with pytest.raises(StoreUnavailable, match=r"is gone; put it back"):
        opened.executions.tool_names()
    copy.replace(file)
    recorder.flush()
    assert stored(file) == ["before", *(f"meanwhile {number}" for number in range(3))]
    assert recorder.lost == 0


def test_a_file_that_is_moved_away_and_back(opened: ExecutionStore, file: Path) -> None:
    """The same file, back in its place, has everything, also what was in its log only."""
    record(opened, "before")
    file.rename(file.with_name("aside"))
    with pytest.raises(StoreUnavailable, match="is gone"):
        record(opened, "meanwhile")
    file.with_name("aside").rename(file)
    record(opened, "after")
    assert stored(file) == ["before", "after"]


def test_an_emptied_file(opened: ExecutionStore, file: Path) -> None:
    """A file that was cut to nothing is refused, and left as it is, until a backup is in its place."""
    record(opened, "before")
    copy = backup(file)
    os.truncate(file, 0)
    with pytest.raises(StoreUnavailable, match="was emptied"):
        record(opened, "meanwhile")
    assert file.stat().st_size == 0
    copy.replace(file)
    record(opened, "after")
    assert stored(file) == ["before", "after"]


def test_a_file_that_is_cut_off(opened: ExecutionStore, file: Path) -> None:
    """A file that became shorter is looked through for damage before anything more is acknowledged."""
    copy = backup(file)
    size = file.stat().st_size
    record(opened, "before")
    os.truncate(file, size // 2)
    with pytest.raises((StoreUnavailable, NotARollguardStore)):
        record(opened, "meanwhile")
    with pytest.raises((StoreUnavailable, NotARollguardStore)):
        record(opened, "meanwhile")
    copy.replace(file)
    record(opened, "after")
    assert stored(file) == ["after"]


def test_a_database_of_something_else(opened: ExecutionStore, file: Path, tmp_path: Path) -> None:
    """Another program's database in the file's place is refused and left alone; the right one comes back whole."""
    record(opened, "before")
    os.link(file, file.with_name("former.db"))
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    other.replace(file)
    for _ in range(2):
        with pytest.raises(SchemaDamaged, match="no store of Rollguard"):
            record(opened, "lost")
    connection = sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)
    assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["mine"]
    connection.close()
    file.with_name("former.db").replace(file)
    record(opened, "after")
    assert stored(file) == ["before", "after"]


def test_a_connection_that_may_only_read_is_renewed(opened: ExecutionStore) -> None:
    """What was opened while the file was read-only does not stay so when it can be written again."""
    with opened.database.read() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")  # what SQLite makes of such a connection
    with pytest.raises(StoreReadOnly):
        record(opened, "refused")
    record(opened, "taken")
    assert opened.executions.tool_names() == ["taken"]


def test_a_file_that_is_corrupted_and_repaired(opened: ExecutionStore, file: Path) -> None:
    """While its pages are garbage a file is refused; once they are right again, the same process goes on."""
    record(opened, "before")
    opened.close()
    good = file.read_bytes()
    file.write_bytes(b"garbage!" * (len(good) // 8))
    with pytest.raises(NotARollguardStore):
        record(opened, "meanwhile")
    for log in ("-wal", "-shm"):
        file.with_name(file.name + log).unlink(missing_ok=True)
    file.write_bytes(good)
    record(opened, "after")
    assert stored(file) == ["before", "after"]


def test_waiting_for_executions_goes_on_with_the_new_file(opened: ExecutionStore, file: Path) -> None:
    """Who waits for arrivals hears of those in the new file."""
    record(opened, "before")
    arrivals = opened.arrivals()
    arrivals.wait(0.0)
    backup(file).replace(file)
    arrivals.wait(0.0)
    connection = sqlite3.connect(file)
    connection.execute("INSERT INTO tool_executions (tool_name, success) VALUES ('new', TRUE)")
    connection.commit()
    connection.close()
    assert arrivals.wait(10.0) == {"new"}
    arrivals.close()


def test_a_new_file_while_other_threads_are_inside(opened: ExecutionStore, file: Path) -> None:
    """Nobody opens the new file before the last transaction on the old one is over."""
    copy = backup(file)
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        with contextlib.suppress(StoreUnavailable), opened.database.write() as connection:
            connection.exec_driver_sql("INSERT INTO tool_executions (tool_name, success) VALUES ('ghost', TRUE)")
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=slow)
    thread.start()
    inside.wait(60)
    copy.replace(file)
    threading.Timer(0.05, leave.set).start()
    record(opened, "new")
    thread.join()
    assert stored(file) == ["new"]


async def test_a_watch_goes_on_with_a_restored_backup(file: Path, tmp_path: Path) -> None:
    """A loop whose file is replaced checks the sessions of the new one, not those of a ghost."""
    with ExecutionStore(f"sqlite:///{file}") as store:
        registry = ToolRegistry(tmp_path / "tools", store=store)
        monitor = DeploymentMonitor(store, registry)
        loop = AutonomousLoop(monitor)
        registry.deploy("my_tool", code(1))
        monitor.start_monitoring("my_tool", store.versions.live("my_tool").deployed_at)  # type: ignore[union-attr]
        copy = backup(file)
        registry.deploy("other", code(1, "other"))
        monitor.start_monitoring("other", store.versions.live("other").deployed_at)  # type: ignore[union-attr]
        assert (await loop.check_deployment_health())["checks"] == 2
        file.unlink()
        with pytest.raises(StoreUnavailable, match="is gone"):
            await loop.check_deployment_health()
        await asyncio.to_thread(copy.replace, file)
        assert (await loop.check_deployment_health())["checks"] == 1
        registry.close()


def test_a_process_that_changes_its_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store by a relative path stays the same file when the process goes into another folder."""
    monkeypatch.chdir(file.parent)
    with ExecutionStore(f"sqlite:///{file.name}") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        record(store, "one")
        store.close()
        record(store, "two")
        assert stored(file) == ["one", "two"]
        assert list(Path().iterdir()) == []


def test_versions_that_a_backup_does_not_know(file: Path, tmp_path: Path) -> None:
    """After an older backup is restored, the folder's newer versions are in it, and it says what is live."""
    with ExecutionStore(f"sqlite:///{file}") as store:
        registry = ToolRegistry(tmp_path / "tools", store=store)
        registry.deploy("my_tool", code(1))
        copy = backup(file)
        registry.deploy("my_tool", code(7))
        registry.deploy("my_tool", code(2))
        registry.deploy("other", code(1, "other"))
        assert registry.call("my_tool", x=0) == 2
        registry.recorder.flush()
        brought = threading.Event()
        store.database.when_replaced(brought.set)  # after the registry's own, which brings the versions back
        copy.replace(file)
        store.versions.history("my_tool")  # which sees it, unless a thread of the registry has just done so
        assert brought.wait(60)
        history = store.versions.history("my_tool")
        assert {version.version_number: version.code.decode() for version in history} == {1: code(1), 2: code(2)}
        assert "the database, which was replaced" in (history[0].reason or "")
        live = store.versions.live("my_tool")
        assert live is not None
        assert live.version_number == 1
        assert store.versions.live("other") is not None
        assert registry.call("my_tool", x=0) == 2
        registry.recorder.flush()
        connection = sqlite3.connect(file)
        assert connection.execute("SELECT version_number FROM tool_executions").fetchall() == [(2,)]
        connection.close()
        registry.deploy("my_tool", code(3))
        assert registry.call("my_tool", x=0) == 3
        registry.close()


def _records(path: str, who: str, stop: Any, acknowledged: Any) -> None:
    with ExecutionStore(f"sqlite:///{path}") as store:
        recorder = Recorder(store, Spool(f"{path}.jsonl", fsync=False), durable=True, retry_after=0.05)
        number = 0
        while not stop.is_set():
            number += 1
            began = time.monotonic()
            recorder.record(tool_name=f"{who}-{number}", success=True)
            acknowledged.put((began, f"{who}-{number}"))
        acknowledged.put(None)
        while True:
            try:
                recorder.flush()
                return
            except StoreUnavailable:
                time.sleep(0.05)


@pytest.mark.long
def test_many_processes_and_many_new_files(file: Path) -> None:
    """Whatever began and was acknowledged after the last new file is in it, however often that was replaced."""
    chance, before = random.Random(0), file.read_bytes()
    context = multiprocessing.get_context("spawn")
    acknowledged, stop = context.Queue(), context.Event()
    processes = [context.Process(target=_records, args=(str(file), who, stop, acknowledged)) for who in "abc"]
    for process in processes:
        process.start()
    started: set[str] = set()
    while len(started) < len(processes):  # a store that is opened while its file is gone is another test's matter
        started.add(acknowledged.get(timeout=300)[1][0])

    def more_calls(since: float) -> set[str]:
        """Wait until some calls began after a moment, and were acknowledged."""
        after: set[str] = set()
        wanted = chance.randint(1, 30)
        while len(after) < wanted:
            began, name = acknowledged.get(timeout=300)
            if began > since:
                after.add(name)
        return after

    last = 0.0
    for _ in range(12):
        more_calls(time.monotonic())
        change = chance.choice(["replace", "remove", "empty"])
        if change == "remove":
            file.unlink()
        elif change == "empty":
            os.truncate(file, 0)
        if change != "replace":
            more_calls(time.monotonic())
        copy = file.with_name("copy.db")
        copy.write_bytes(before)
        copy.replace(file)
        last = time.monotonic()
    after = more_calls(last)
    stop.set()
    for _ in processes:
        after |= {name for began, name in iter(lambda: acknowledged.get(timeout=300), None) if began > last}
    for process in processes:
        process.join()
    assert after - set(stored(file)) == set()
