"""The spool keeps executions while the database is away: all of them, once each, in order."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import threading
import zlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.model.execution import Execution
from rollguard.record import Spool
from tests.conftest import NOW
from tests.processes import at_once, python


def row(number: int, **more: Any) -> Execution:
    moment = NOW + timedelta(seconds=number)
    return Execution("my_tool", True, execution_id=f"e{number}", executed_at=moment, **more)


def number_of(one: Execution) -> int:
    return int(str(one.execution_id)[1:])


def drained(spool: Spool) -> list[Execution]:
    rows: list[Execution] = []
    assert spool.drain(rows.extend) == len(rows)
    return rows


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "deep" / "down" / "spool.jsonl")


def test_round_trip(spool: Spool) -> None:
    """Rows come back as they were, in order, and once; the folder is made when it is needed."""
    assert not spool.pending
    assert drained(spool) == []
    rows = [row(n, error="é\0\ud800\n\r\u2028", request_id="r") for n in range(5)]
    for one in rows:
        spool.append(one)
    assert spool.pending
    assert drained(spool) == rows
    assert not spool.pending
    assert drained(spool) == []


TEXT = st.text(st.characters(exclude_categories=()))
ROWS = st.builds(
    Execution,
    tool_name=TEXT,
    success=st.booleans(),
    duration_ms=st.none() | st.floats(0, allow_infinity=False),
    error=st.none() | TEXT,
    error_type=st.none() | TEXT,
    parameters=st.none() | TEXT,
    result=st.none() | TEXT,
    executed_at=st.datetimes(
        min_value=datetime(1970, 1, 2),  # noqa: DTZ001
        max_value=datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
    ),
    version_number=st.none() | st.integers(1),
    execution_id=st.none() | TEXT,
    request_id=st.none() | TEXT,
    tags=st.none() | TEXT,
    score=st.none() | st.floats(0, 1),
    failed_at=st.none() | TEXT,
    traceback=st.none() | TEXT,
)


@given(st.lists(ROWS, max_size=8))
def test_any_rows_come_back(tmp_path: Path, rows: list[Execution]) -> None:
    """Whatever text and moments rows hold, they come back equal."""
    spool = Spool(tmp_path / "spool.jsonl")
    for one in rows:
        spool.append(one)
    assert drained(spool) == rows


def test_rows_of_another_version(spool: Spool) -> None:
    """A field that an older Rollguard did not have is as if it was not given; one that a newer one has is left out."""
    fields = {**row(1, request_id="r")._asdict(), "executed_at": row(1).executed_at.isoformat(), "newer": 1}  # type: ignore[union-attr]
    del fields["request_id"]
    body = json.dumps(fields).encode()
    spool.append(row(0))
    with spool.path.open("ab") as file:
        file.write(b"%08x %b\n" % (zlib.crc32(body), body))
    assert drained(spool) == [row(0), row(1)]


def test_many_rows_in_batches(spool: Spool) -> None:
    """A long spool is handed over some rows at a time."""
    spool.append(row(0))
    line = spool.path.read_bytes()
    spool.path.write_bytes(line * 2_500)
    sizes: list[int] = []
    assert spool.drain(lambda rows: sizes.append(len(rows))) == 2_500
    assert sum(sizes) == 2_500
    assert max(sizes) <= 1_000


def test_nothing_is_forgotten_when_the_database_is_away(spool: Spool) -> None:
    """When the rows cannot be written they stay, to be written later."""
    for n in range(3):
        spool.append(row(n))

    def refuse(_rows: list[Execution]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        spool.drain(refuse)
    assert drained(spool) == [row(n) for n in range(3)]


def test_rows_that_come_during_a_drain(spool: Spool) -> None:
    """What is appended while the rows before it are being written waits for the next drain."""
    spool.append(row(1))
    taken: list[Execution] = []

    def write(rows: list[Execution]) -> None:
        taken.extend(rows)
        spool.append(row(2))
        assert spool.drain(taken.extend) == 0  # somebody is at it already

    assert spool.drain(write) == 1
    assert taken == [row(1)]
    assert drained(spool) == [row(2)]


@pytest.mark.parametrize("cut", [1, 5, 20, -1])
def test_torn_last_line(spool: Spool, caplog: pytest.LogCaptureFixture, cut: int) -> None:
    """A line that a crash cut short is skipped and reported; those before and after it are kept."""
    spool.append(row(1))
    whole = spool.path.read_bytes()
    spool.append(row(2))
    torn = spool.path.read_bytes()[: len(whole) + cut] if cut > 0 else spool.path.read_bytes()[:-2]
    spool.path.write_bytes(torn)
    spool.append(row(3))
    with caplog.at_level(logging.WARNING):
        assert drained(spool) == [row(1), row(3)]
    assert "line 2 is damaged" in caplog.text
    assert not spool.pending


@given(st.data())
def test_any_damage(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes are changed, cut or added, what comes back are rows that were kept, in their order."""
    spool = Spool(tmp_path / "spool.jsonl")
    spool.path.unlink(missing_ok=True)
    for n in range(4):
        spool.append(row(n))
    content = bytearray(spool.path.read_bytes())
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    content[start:end] = data.draw(st.binary(max_size=20))
    spool.path.write_bytes(content)
    numbers = [number_of(one) for one in drained(spool)]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= set(range(4))
    assert len(numbers) >= 1  # the damage reaches over two lines at most, and touches a third at its edge


KILLED = """
import os, signal, sys
from rollguard.record import Spool
from tests.record.test_spool import number_of, row
spool = Spool(sys.argv[1])
for n in range(3):
    spool.append(row(n))
if sys.argv[2] == "drain":
    spool.drain(lambda rows: os.kill(os.getpid(), signal.SIGKILL))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["append", "drain"])
def test_killed(spool: Spool, moment: str) -> None:
    """Rows survive the kill of the process that kept them, also in the midst of handing them over."""
    process = python(KILLED, spool.path, moment)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert drained(spool) == [row(n) for n in range(3)]


SHARING = """
import sys
from rollguard.record import Spool
from tests.record.test_spool import number_of, row
spool, start, out = Spool(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "a")
taken = []
print("ready", flush=True)
sys.stdin.readline()
for n in range(start, start + 60):
    spool.append(row(n))
    if n % 7 == 0:
        spool.drain(lambda rows: taken.extend(number_of(one) for one in rows))
print(taken)
"""


def test_processes_share_a_spool(spool: Spool, tmp_path: Path) -> None:
    """Processes that append and drain at once lose no row and double none, and keep each one's order."""
    starts = (0, 1_000, 2_000)
    sharing = [python(SHARING, spool.path, str(start), tmp_path / "out") for start in starts]
    taken = [json.loads(printed) for printed in at_once(sharing)]
    taken.append([number_of(one) for one in drained(spool)])
    everything = [n for numbers in taken for n in numbers]
    assert sorted(everything) == [n for start in starts for n in range(start, start + 60)]
    for numbers in taken:
        for start in starts:
            own = [n for n in numbers if start <= n < start + 60]
            assert own == sorted(own)


def test_a_forked_child_does_not_keep_the_lock(spool: Spool) -> None:
    """A child that is forked while the spool is locked, and lives on, keeps nobody from using it."""
    reading, writing = os.pipe()
    children = []

    def fork_in_the_midst(_rows: list[Execution]) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.read(reading, 1)  # lives until the parent closes its end
            os._exit(0)
        children.append(pid)

    spool.append(row(1))
    try:
        spool.drain(fork_in_the_midst)
        spool.append(row(2))
        assert drained(spool) == [row(2)]
    finally:
        os.close(writing)
        os.close(reading)
        for pid in children:
            os.waitpid(pid, 0)


def test_waiting_for_a_drain(spool: Spool) -> None:
    """Who waits for a drain under way hands over what it left, and returns only when all is handed over."""
    spool.append(row(1))
    begun, go_on = threading.Event(), threading.Event()
    taken: list[Execution] = []

    def write(rows: list[Execution]) -> None:
        begun.set()
        assert go_on.wait(300)
        taken.extend(rows)

    other = threading.Thread(target=spool.drain, args=(write,))
    other.start()
    assert begun.wait(300)
    spool.append(row(2))
    waiting = threading.Thread(target=spool.drain, args=(taken.extend,), kwargs={"wait": True})
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    go_on.set()
    waiting.join(300)
    assert taken == [row(1), row(2)]
    assert not spool.pending
    other.join(300)


def test_a_spool_that_cannot_be_written(tmp_path: Path) -> None:
    """A spool in an impossible place says so when it is written, and holds nothing."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "spool.jsonl", tmp_path):
        spool = Spool(path)
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
            spool.append(row(1))
    assert not Spool(tmp_path / "file" / "spool.jsonl").pending


@pytest.mark.parametrize(
    "body", [b"no JSON", b"[1]", b'{"n": 1}', b'{"executed_at": 5}', b'{"executed_at": "0001-01-01"}']
)
def test_a_line_that_was_never_ours(spool: Spool, caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    """A line whose checksum is right but that holds no execution is skipped and reported, and holds up no other."""
    spool.append(row(1))
    with spool.path.open("ab") as file:
        file.write(b"%08x %b\n" % (zlib.crc32(body), body))
    spool.append(row(2))
    with caplog.at_level(logging.WARNING):
        assert drained(spool) == [row(1), row(2)]
    assert "line 2 is damaged" in caplog.text


def test_a_large_spool_is_drained_file_by_file(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large spool is kept in several files; what one drain has handed over the next one does not hand over again."""
    monkeypatch.setattr("rollguard.record.spool._LARGE", 100)
    for n in range(12):
        spool.append(row(n))
    taken: list[Execution] = []

    def write(rows: list[Execution]) -> None:
        if len(taken) > 3:
            raise ConnectionError
        taken.extend(rows)

    with pytest.raises(ConnectionError):
        spool.drain(write)
    before = len(taken)
    assert 3 < before < 12
    spool.append(row(12))
    assert taken + drained(spool) == [row(n) for n in range(13)]
    assert not spool.pending
    assert not list(spool.path.parent.glob("*.jsonl"))


def test_a_full_disk(spool: Spool) -> None:
    """What the disk has no room for is refused whole, and what was kept before stays whole."""
    spool.append(row(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size + 100, hard))
    try:
        with pytest.raises(OSError, match="large"):
            spool.append(*(row(n) for n in range(2, 10)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    spool.append(row(10))
    assert drained(spool) == [row(1), row(10)]


@pytest.mark.parametrize("fsync", [True, False])
def test_rows_reach_the_disk_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fsync: bool
) -> None:
    """An append waits for the disk, unless `fsync` is False."""
    waits: list[int] = []
    monkeypatch.setattr("os.fsync", waits.append)
    spool = Spool(tmp_path / "spool.jsonl", fsync=fsync)
    spool.append(row(1))
    assert bool(waits) is fsync
    assert drained(spool) == [row(1)]
