"""PostgreSQL: executions in partitions of a week, with every promise of the one table they were before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.judge import Rules
from rollguard.store.database.engine import Database
from rollguard.store.retention.partitions import Partitions, _create, _week
from rollguard.store.retention.raw_reads import TimeRange
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW
from tests.contract.sql import Row, ask
from tests.store.old_store import make_old_store

DAY, WEEK = timedelta(days=1), timedelta(days=7)
LONG_AGO = NOW - 200 * DAY
ALWAYS = Selection("t", LONG_AGO, NOW + 200 * DAY)
INSERT = "INSERT INTO tool_executions (tool_name, success, execution_id, executed_at) VALUES "


@pytest.fixture
def dialect() -> str:
    """Only PostgreSQL has partitions."""
    return "postgresql"


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """A database that is made at its first use, with the weeks of today."""
    return new_url()


@pytest.fixture
def weeks(store: ExecutionStore) -> list[str]:
    """The partitions of the twelve weeks up to NOW, as cycles of the loop make them in their time, oldest first."""
    made = [name for week in range(-10, 1, 3) for name in Partitions(store.database).create_ahead(NOW + week * WEEK)]
    assert len(made) == 12
    return made


def _partitions(url: str) -> list[str]:
    rows = ask(
        url,
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits JOIN pg_class ON oid = inhparent "
        "WHERE relname = 'tool_executions' AND relkind = 'p' ORDER BY 1",
    )
    return [row["name"].removeprefix("tool_executions_") for row in rows]


def _where(url: str) -> dict[str, str]:
    """In which partition each execution is."""
    rows = ask(url, "SELECT execution_id, tableoid::regclass::text AS name FROM tool_executions ORDER BY executed_at")
    return {row["execution_id"]: row["name"].removeprefix("tool_executions_") for row in rows}


def _keys(url: str) -> set[str]:
    return {row["execution_id"] for row in ask(url, "SELECT execution_id FROM execution_keys")}


def _record(store: ExecutionStore, **times: datetime) -> int:
    return store.store_tool_executions(
        {"tool_name": "t", "success": True, "duration_ms": 5.0, "execution_id": name, "executed_at": at}
        for name, at in times.items()
    )


def _total(store: ExecutionStore) -> int:
    (window,) = Rollups(store.database).count([[ALWAYS]])
    return window.total


def test_a_new_store_has_partitions_for_the_weeks_ahead(store: ExecutionStore, url: str) -> None:
    """An empty store is made with this week, the next two and the default one; what is recorded now is in its week."""
    today = datetime.now(UTC)
    store.store_tool_execution(tool_name="t", success=True, execution_id="now", executed_at=today)
    assert len(_partitions(url)) == 4
    assert _where(url)["now"] == f"w{today - today.weekday() * DAY:%Y%m%d}"


def test_partitions_are_made_ahead(store: ExecutionStore, url: str) -> None:
    """A tidy makes the week of that moment and the next two, once; rows of other times are in the default one."""
    made = store.tidy(now=NOW).made
    assert made == ("tool_executions_w20260223", "tool_executions_w20260302", "tool_executions_w20260309")
    assert store.tidy(now=NOW).made == ()
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    instant = timedelta(microseconds=1)
    _record(store, sunday=monday - instant, monday=monday, end=monday + WEEK - instant, later=monday + 2 * WEEK)
    _record(store, first=datetime(1, 1, 2, tzinfo=UTC), last=datetime(9999, 12, 30, tzinfo=UTC))
    assert _where(url) == {
        "first": "default",
        "sunday": "w20260223",
        "monday": "w20260302",
        "end": "w20260302",
        "later": "default",
        "last": "default",
    }


def test_a_clock_that_is_ahead(store: ExecutionStore, url: str) -> None:
    """A few rows of a week that came before its partition was made are moved into it, and each stays what it was."""
    _record(store, early=NOW, ahead=NOW + 2 * WEEK)
    selection = [
        Selection("t", NOW - DAY, NOW + 3 * WEEK),
        Selection("t", NOW + timedelta(microseconds=1), NOW + 3 * WEEK),
    ]
    before = store.executions.count([[s] for s in selection])
    assert [window.total for window in before] == [2, 1]
    assert len(store.tidy(now=NOW).made) == 3
    assert _where(url) == {"early": "w20260223", "ahead": "w20260309"}
    assert store.executions.count([[s] for s in selection]) == before
    assert store.store_tool_executions([{"tool_name": "t", "success": True, "execution_id": "ahead"}]) == 0


def test_a_writer_waits_for_a_week_that_is_being_made(store: ExecutionStore, url: str) -> None:
    """Who inserts an execution of a week while its partition is made waits, and the execution is in it afterwards."""
    _record(store, early=NOW)
    waiting = "SELECT COUNT(*) AS n FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor() as pool, psycopg.connect(url) as writer:
        with store.database.write() as connection:
            _create(connection, _week(NOW))
            written = pool.submit(writer.execute, f"{INSERT} ('t', TRUE, 'meanwhile', '{NOW.isoformat()}')")
            while not ask(url, waiting)[0]["n"]:
                assert not written.done()
        written.result(timeout=300)
    assert _where(url) == {"early": "w20260223", "meanwhile": "w20260223"}


def test_a_week_that_has_begun_in_the_default_partition_stays_there(
    store: ExecutionStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more rows of a week are in the default partition than can be moved it is not made; those after it are."""
    monkeypatch.setattr("rollguard.store.retention.partitions.MOVABLE", 1)
    _record(store, early=NOW, second=NOW)
    assert store.tidy(now=NOW).made == ("tool_executions_w20260302", "tool_executions_w20260309")
    _record(store, late=NOW + DAY)
    assert _where(url) == {"early": "default", "second": "default", "late": "w20260302"}


def test_partitions_that_another_process_drops_meanwhile(store: ExecutionStore, weeks: list[str]) -> None:
    """Several loops drop what is old: who comes second finds it done."""
    partitions, cutoff = Partitions(store.database), NOW - 4 * WEEK

    def kept() -> Iterator[tuple[str, TimeRange]]:
        dropped.extend(partitions.drop_before(cutoff, ()))
        yield "t", (LONG_AGO, NOW)

    dropped: list[str] = []
    assert partitions.drop_before(cutoff, kept()) == []
    assert dropped == [week for week in weeks if week in dropped] != []


def test_old_partitions_are_dropped(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """A partition whose last moment is old enough is dropped with its ids; counts, younger rows and theirs stay."""
    _record(store, **{f"d{day}": NOW - day * DAY for day in range(70)})
    before = _total(store)
    tidied = store.tidy(now=NOW)
    assert tidied.dropped == tuple(weeks[:6])
    assert (tidied.rows, tidied.finished) == (0, True)
    kept = {f"d{day}" for day in range(35)}  # up to the Monday of the week that became 30 days old
    assert set(_where(url)) == _keys(url) == kept
    assert _total(store) == before == 70
    assert _record(store, d34=NOW, d1=NOW - 40 * DAY) == 0
    assert store.tidy(now=NOW).dropped == ()


def test_a_partition_that_a_session_needs_stays(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """A partition with a row that a session under watch reads raw is dropped when the session is over."""
    deployed = NOW - 50 * DAY + timedelta(seconds=30)
    session = store.sessions.start(
        "t", deployed, Rules(monitoring_window_hours=8_760), version_number=None, notes=None, now=deployed
    )
    _record(store, baseline=deployed - 6 * DAY, edge=deployed, between=deployed + 10 * DAY, recent=NOW)
    _record(store, **{f"d{day}": NOW - day * DAY for day in range(63, 67)})
    before = store.executions.windows(session, NOW)
    assert len(store.tidy(now=NOW).dropped) == 4
    assert set(_where(url)) == {"baseline", "edge", "recent"}
    assert store.executions.windows(session, NOW) == before
    assert _record(store, baseline=NOW) == 0
    store.sessions.cancel(session.session_id, notes="enough", now=NOW)
    assert len(store.tidy(now=NOW).dropped) == 2
    assert set(_where(url)) == _keys(url) == {"recent"}


def test_ids_of_rows_in_the_default_partition_go_with_them(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """An id is remembered exactly as long as its row, in whichever partition it is."""
    _record(store, ancient=LONG_AGO, old=NOW - 40 * DAY, outside=NOW - 90 * DAY, ahead=NOW + 90 * DAY, young=NOW)
    assert store.retention.tidy(NOW, steps=0).finished is False
    assert _keys(url) >= set(_where(url)) == {"ancient", "outside", "young", "ahead"}
    assert store.tidy(now=NOW).rows == 2
    assert set(_where(url)) == _keys(url) == {"young", "ahead"}


def test_ids_of_young_rows_in_the_default_partition_are_kept(store: ExecutionStore, url: str) -> None:
    """A row from before the first partition, which is in the default one, keeps its id as long as it stays itself."""
    _record(store, recent=NOW - 10 * DAY, old=NOW - 31 * DAY)
    tidied = store.tidy(now=NOW)
    assert (len(tidied.made), tidied.rows) == (3, 1)
    assert _keys(url) == {"recent"}
    assert _record(store, recent=NOW) == 0
    assert _record(store, old=NOW) == 1


def test_a_repeated_id_is_stored_once_across_partitions(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """An id is stored once whatever the times beside it: one by one, in bulk, and twice in one bulk."""
    assert _record(store, a=NOW, b=NOW - 20 * DAY) == 2
    assert _record(store, a=NOW - 20 * DAY, b=NOW, c=NOW) == 1
    twice = [{"tool_name": "t", "success": i == 0, "execution_id": "d", "executed_at": NOW - i * WEEK} for i in (0, 1)]
    assert store.store_tool_executions(twice) == 1
    stored = ask(url, "SELECT execution_id, executed_at, success FROM tool_executions ORDER BY 1")
    assert [(row["execution_id"], row["executed_at"]) for row in stored] == [
        ("a", NOW),
        ("b", NOW - 20 * DAY),
        ("c", NOW),
        ("d", NOW),
    ]
    assert stored[3]["success"]
    assert _total(store) == 4


def test_another_programs_repeated_id_changes_nothing(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """A plain INSERT, INSERT ... ON CONFLICT DO NOTHING and COPY of a stored id add no row and are not counted."""
    _record(store, a=NOW)
    values = f"('t', TRUE, 'a', '{NOW - 20 * DAY}'), ('t', TRUE, 'b', '{NOW}'), ('t', TRUE, 'b', '{NOW - 9 * DAY}')"
    ask(url, INSERT + values)
    ask(url, INSERT + values + " ON CONFLICT DO NOTHING")
    copy = "COPY tool_executions (tool_name, success, execution_id, executed_at) FROM STDIN"
    with psycopg.connect(url) as connection, connection.cursor() as cursor, cursor.copy(copy) as rows:
        for name in ("a", "b", "c"):
            rows.write_row(("t", True, name, NOW - 3 * DAY))
    ask(
        url,
        "INSERT INTO tool_executions (tool_name, success, executed_at) "
        f"SELECT 't', TRUE, timestamptz '{NOW}' - n * interval '5 days' FROM generate_series(1, 4) n",
    )
    assert sorted(str(row["execution_id"]) for row in ask(url, "SELECT execution_id FROM tool_executions")) == sorted(
        ["a", "b", "c", "None", "None", "None", "None"]
    )
    assert _record(store, a=NOW, b=NOW, c=NOW) == 0
    assert _total(store) == 7


def test_many_who_write_the_same_ids_at_once(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """Writers of the same ids at the same moment, each with other times and another order, store each id once."""
    ids = [f"call {number}" for number in range(200)]

    def write(number: int) -> int:
        at = NOW - number * WEEK
        if number % 3 == 0:
            for name in sorted(ids):
                ask(url, INSERT + f"('t', TRUE, '{name}', '{at}')")
            return 0
        return _record(store, **dict.fromkeys(ids[::-1] if number % 2 else ids, at))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len(_where(url)) == _total(store) == len(ids)
    assert ask(url, "SELECT COUNT(*) AS n FROM tool_executions") == [{"n": len(ids)}]


def test_nobody_waits_for_a_reader_who_is_in_the_way(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """While a transaction reads every partition nothing is dropped, a writer does not wait for its end, and the next
    tidy after it drops what is old."""
    _record(store, old=NOW - 60 * DAY, young=NOW)
    written: list[str] = []
    done = threading.Event()

    def write() -> None:
        with ExecutionStore(url) as writer:
            while not done.is_set():
                written.append(writer.store_tool_execution(tool_name="t", success=True, executed_at=NOW))

    thread = threading.Thread(target=write)
    with psycopg.connect(url) as reader:
        reader.execute("SELECT COUNT(*) FROM tool_executions")
        thread.start()
        tidied = []
        for _ in range(3):
            tidied.append(store.tidy(now=NOW + 4 * WEEK))
            before = len(written)
            while len(written) < before + 2:  # the second of them began after the tidy, and the reader is still there
                assert thread.is_alive()
        reader.rollback()
    done.set()
    thread.join()
    assert [(each.made, each.dropped) for each in tidied] == [((), ())] * 3
    last = store.tidy(now=NOW + 4 * WEEK)
    assert (len(last.made), len(last.dropped)) == (3, 10)
    assert ask(url, "SELECT COUNT(*) AS n FROM tool_executions WHERE execution_id = 'old'") == [{"n": 0}]
    assert _total(store) == 2 + len(written)


def test_what_a_column_refuses_is_refused_in_every_partition(store: ExecutionStore, url: str, weeks: list[str]) -> None:
    """The constraints and defaults of the table hold in partitions of every kind."""
    for at in (NOW, LONG_AGO):
        with pytest.raises(psycopg.errors.CheckViolation, match="ck_tool_executions_duration"):
            ask(
                url,
                f"INSERT INTO tool_executions (tool_name, success, duration_ms, executed_at) "
                f"VALUES ('t', TRUE, -1, '{at}')",
            )
        with pytest.raises(psycopg.errors.NotNullViolation):
            ask(url, f"INSERT INTO tool_executions (tool_name, executed_at) VALUES ('t', '{at}')")
    indexed = ask(
        url,
        "SELECT COUNT(DISTINCT tablename) AS n FROM pg_indexes WHERE tablename LIKE 'tool_executions%' "
        "AND indexdef LIKE '%(tool_name, executed_at)'",
    )
    assert indexed == [{"n": len(_partitions(url)) + 1}]


def _all(url: str) -> list[Row]:
    return ask(url, "SELECT * FROM tool_executions ORDER BY id")


def _older(url: str, times: list[datetime]) -> list[Row]:
    """A store that was made before there were partitions: its first one has everything of that time."""
    before = (
        f"PARTITION OF tool_executions FOR VALUES FROM (MINVALUE) TO ('{_week(datetime.now(UTC)).end.isoformat()}')"
    )
    make_old_store(url, f"CREATE TABLE tool_executions_before {before}")
    old = Database(url)
    insert = sa.text(
        "INSERT INTO tool_executions (tool_name, version_number, success, duration_ms, error, parameters, execution_id,"
        " executed_at) VALUES ('t', 1, :ok, :ms, 'no', '{}', :id, :at)"
    )
    with old.write() as connection:
        rows: list[dict[str, Any]] = [
            {"ok": i % 3 != 0, "ms": float(i), "id": None if i % 10 == 0 else f"id {i}", "at": at}
            for i, at in enumerate(times)
        ]
        for row in rows:
            connection.execute(insert, row)
    old.close()
    return _all(url)


def test_an_older_store_loses_nothing(new_url: Callable[[], str]) -> None:
    """A store with rows of many days, past and future, keeps each of them as it is, each counted once, each id once."""
    url = new_url()
    now = datetime.now(UTC)
    times = [now - i * DAY / 3 for i in range(300)] + [now + i * DAY for i in range(40)]
    before = _older(url, times)
    with ExecutionStore(url) as store:
        assert [{name: row[name] for name in before[0]} for row in _all(url)] == before
        (window,) = Rollups(store.database).count([[Selection("t", now - 200 * DAY, now + 50 * DAY)]])
        assert (window.total, window.successes) == (340, sum(row["success"] for row in before))
        assert window.duration_sum_ms == sum(range(340))
        assert _record(store, new=now) == 1
        assert _all(url)[-1]["id"] == before[-1]["id"] + 1
        assert _record(store, **{f"id {i}": now - i * DAY for i in range(1, 340) if i % 10}) == 0
        assert set(_where(url).values()) == {"before", "default"}


def test_an_older_stores_rows_are_removed_in_time(new_url: Callable[[], str]) -> None:
    """What was there before the partitions is removed row by row at first, and dropped when all of it is old."""
    url = new_url()
    now = datetime.now(UTC)
    _older(url, [now - i * DAY for i in range(60)])
    with ExecutionStore(url) as store:
        Partitions(store.database).create_ahead(now)
        first = store.tidy(now=now)
        assert (first.rows, first.dropped, first.made) == (29, (), ())
        assert len(_all(url)) == 31
        assert len(_keys(url)) == sum(1 for i in range(31) if i % 10)
        last = store.tidy(now=now + 40 * DAY)
        assert last.dropped[0] == "tool_executions_before"
        assert _all(url) == []
        assert _keys(url) == set()
        (window,) = Rollups(store.database).count([[Selection("t", now - 200 * DAY, now + 50 * DAY)]])
        assert window.total == 60


def test_processes_that_make_partitions_at_once_are_safe(store: ExecutionStore, url: str) -> None:
    """Several who tidy at the same moment make each partition once, and none of them fails."""
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: store.tidy(now=NOW), range(6)))
    made = [name for tidied in done for name in tidied.made]
    assert sorted(made) == sorted(set(made))
    store.tidy(now=NOW)
    assert {"w20260223", "w20260302", "w20260309"} <= set(_partitions(url))
