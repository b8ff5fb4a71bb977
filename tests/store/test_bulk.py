"""Many executions at once: whatever they hold and whoever else writes, each is stored as it is, and once."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput, RollguardError, StoreUnavailable
from rollguard.model.execution import Execution
from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime, sqlite_text, sqlite_texts
from rollguard.store.executions.ids import microseconds_of, moment_of, new_id, new_ids
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.selection import Selection
from rollguard.store.schema import tool_executions
from tests.conftest import NOW
from tests.contract.sql import ask
from tests.processes import at_once, python
from tests.store.old_store import make_old_store

WEEK = timedelta(days=7)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2255, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware
AWKWARD = [
    "",
    " ",
    "\\N",
    "\\.",
    "NULL",
    "back\\slash \\t \\n \\\\",
    "tab\tline\nreturn\r\nend\n",
    "quote ' double \" semicolon ;",
    "nul \x00 inside",
    "lone \udcff surrogate",
    "ünïcödé 🦀 \u2028",
    "x" * 9_000,
]


def _executions(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"tool_name": "t", "success": i % 3 > 0, "duration_ms": 5.0, **fields} for i in range(number)]


def _stored(url: str, columns: str = "execution_id") -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in ask(url, f"SELECT {columns} FROM tool_executions ORDER BY id")]


def _counted(store: ExecutionStore) -> int:
    (window,) = Rollups(store.database).count([[Selection("t", NOW - 100 * WEEK, NOW + 100 * WEEK)]])
    return window.total


def test_text_is_stored_in_bulk_as_it_is_alone(store: ExecutionStore, url: str) -> None:
    """Backslashes, newlines, quotes, NULs, lone surrogates and empty text read back the same, however they came."""
    executions = [
        {"tool_name": "t", "success": False, "error": text, "error_type": text, "parameters": text, "result": [text]}
        for text in AWKWARD
    ]
    for execution in executions:
        store.store_tool_execution(**execution)
    assert store.store_tool_executions(executions) == len(AWKWARD)
    rows = _stored(url, "error, error_type, parameters, result")
    assert rows[: len(AWKWARD)] == rows[len(AWKWARD) :]
    assert [row[0] for row in rows[:8]] == AWKWARD[:8]
    assert rows[0] == ("", None, '""', '[""]')


def test_what_is_missing_is_null(store: ExecutionStore, url: str) -> None:
    """What an execution does not tell is NULL, in bulk as alone; what is empty is not."""
    store.store_tool_executions([{"tool_name": "t", "success": True}] * 3 + [{"tool_name": "t", "success": False}])
    optional = "version_number, duration_ms, error_type, error, parameters, result"
    assert _stored(url, optional) == [(None,) * 6] * 4
    assert [bool(row[0]) for row in _stored(url, "success")] == [True] * 3 + [False]


def test_numbers_and_times_are_kept_exactly(store: ExecutionStore, url: str) -> None:
    """Durations, version numbers and times up to their ends are stored to the last bit."""
    durations = [0.0, 0.1, 1 / 3, 1e-300, 1e15, 12]
    times = [datetime(1, 1, 2, tzinfo=UTC), NOW, NOW + timedelta(microseconds=1), datetime(9999, 12, 30, tzinfo=UTC)]
    store.store_tool_executions({"tool_name": "d", "success": True, "duration_ms": value} for value in durations)
    store.store_tool_executions({"tool_name": "d", "success": True, "executed_at": moment} for moment in times)
    store.store_tool_executions({"tool_name": "d", "success": True, "version_number": n} for n in (1, 2**31 - 1))
    with store.database.read() as connection:
        table = sa.text("SELECT duration_ms, executed_at, version_number FROM tool_executions ORDER BY id")
        rows = connection.execute(table.columns(executed_at=UTCDateTime)).all()
    assert [row[0] for row in rows[:6]] == durations
    assert [row[1] for row in rows[6:10]] == times
    assert [row[2] for row in rows[10:]] == [1, 2**31 - 1]


def test_rows_too_large_for_one_batch(url: str) -> None:
    """Rows of a megabyte each are stored whole, however many come."""
    text = "y" * 1_000_000
    with ExecutionStore(url, payload_limit=2_000_000) as store:
        assert store.store_tool_executions({"tool_name": "t", "success": True, "result": text} for _ in range(40)) == 40
    assert ask(url, "SELECT COUNT(*) AS n, MIN(LENGTH(result)) AS least FROM tool_executions") == [
        {"n": 40, "least": 1_000_002}
    ]


def test_what_is_written_again_changes_nothing(store: ExecutionStore, url: str) -> None:
    """Rows with ids of ours that are delivered again, all or some, alone or in bulk, are stored and counted once."""
    rows = [store.executions.row(**execution) for execution in _executions(1_500, executed_at=NOW)]
    more = [store.executions.row(**execution) for execution in _executions(700, executed_at=NOW - 90 * WEEK)]
    assert store.executions.write(rows) == 1_500
    assert store.executions.write(rows) == 0
    assert store.executions.write([*rows[700:], *more, *more, *rows[:1]]) == 700
    for row in (rows[3], more[3]):
        assert store.executions.write([row]) == 0
    assert [each[0] for each in _stored(url)] == [row.execution_id for row in (*rows, *more)]
    assert _counted(store) == 2_200


def test_ids_of_both_kinds_in_one_write(store: ExecutionStore, url: str) -> None:
    """In one write, ids of the callers' own, stored or not, twice or not, and ids of ours are each stored once."""
    assert store.store_tool_executions(_executions(2, execution_id="a")) == 1
    mixed = [
        *_executions(3, executed_at=NOW),
        *({"tool_name": "t", "success": True, "execution_id": name, "executed_at": NOW - 3 * WEEK} for name in "abcb"),
        *_executions(2, executed_at=NOW - WEEK),
    ]
    assert store.store_tool_executions(mixed) == 3 + 2 + 2
    assert [name for (name,) in _stored(url) if len(name) == 1] == ["a", "b", "c"]


def test_repeats_after_many_new_ones(store: ExecutionStore) -> None:
    """An id repeated in a later batch of one write is left out, and so is one that a batch in between repeats."""
    ids = [str(i) for i in range(25_000)]
    ids[24_000], ids[12_000] = ids[5], ids[11_999]
    executions = ({"tool_name": "t", "success": True, "execution_id": name, "executed_at": NOW} for name in ids)
    assert store.store_tool_executions(executions) == 24_998
    assert _counted(store) == 24_998


def test_a_bulk_write_that_fails_late_leaves_nothing(store: ExecutionStore, url: str) -> None:
    """Whatever is raised while executions are being made, in whichever batch, nothing of the write is stored."""

    def broken() -> Iterator[dict[str, Any]]:
        yield from _executions(12_000)
        raise RuntimeError("the source ended too early")

    with pytest.raises(RuntimeError, match="too early"):
        store.store_tool_executions(broken())
    assert _stored(url) == []
    assert store.store_tool_executions(_executions(2)) == 2


def test_an_id_of_ours_brings_its_time(store: ExecutionStore, url: str) -> None:
    """An id that Rollguard gave, written again without a time, is known; with another time it is refused."""
    given = store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
    assert moment_of(given) == NOW
    again = {"tool_name": "t", "success": False, "execution_id": given}
    assert store.store_tool_executions([again, again]) == 0
    assert store.store_tool_executions([{**again, "executed_at": NOW.astimezone()}]) == 0
    with pytest.raises(InvalidInput, match=rf"execution_id: {given} .* gave to an execution at 2026-03-01T12:00:00"):
        store.store_tool_execution(tool_name="t", success=True, execution_id=given, executed_at=NOW - WEEK)
    assert len(_stored(url)) == 1


def test_another_program_repeats_an_id_of_ours(store: ExecutionStore, url: str) -> None:
    """INSERT ... ON CONFLICT DO NOTHING of an id that Rollguard gave adds no row, also after it was read from there."""
    store.store_tool_executions(_executions(3, executed_at=NOW))
    names = "execution_id, tool_name, success, executed_at"
    ask(
        url,
        f"INSERT INTO tool_executions ({names}) SELECT {names} FROM tool_executions WHERE TRUE ON CONFLICT DO NOTHING",
    )
    assert len(_stored(url)) == _counted(store) == 3


def test_rows_without_an_id_are_other_programs(store: ExecutionStore, url: str) -> None:
    """Rows that other programs insert without an id stay as many as they are."""
    for _ in range(2):
        ask(url, f"INSERT INTO tool_executions (tool_name, success, executed_at) VALUES ('t', TRUE, '{NOW:%F %T.%f}')")
    store.store_tool_executions(_executions(2, executed_at=NOW))
    assert [name is None for (name,) in _stored(url)] == [True, True, False, False]
    assert _counted(store) == 4


# --- two at once -----------------------------------------------------------------------------------------------------


WRITE = """
import pickle, sys
from pathlib import Path
from rollguard import ExecutionStore
rows = pickle.loads(Path(sys.argv[2]).read_bytes())
with ExecutionStore(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    print(store.executions.write(rows))
"""


@pytest.mark.parametrize("ours", [True, False], ids=["ids of ours", "callers' ids"])
def test_processes_that_write_the_same_ids_at_once(store: ExecutionStore, url: str, tmp_path: Path, ours: bool) -> None:
    """Two processes that write the same ids at the same moment, the callers' with other times, store each once."""

    def rows(shift: timedelta) -> list[Execution]:
        return [
            store.executions.row(tool_name="t", success=True, executed_at=NOW - shift, execution_id=f"call {i}")
            for i in range(3_000)
        ]

    same = [store.executions.row(**execution) for execution in _executions(3_000, executed_at=NOW)]
    each = (same, same) if ours else (rows(timedelta(0)), rows(2 * WEEK)[::-1])
    for number, half in enumerate(each):
        (tmp_path / f"rows-{number}").write_bytes(pickle.dumps(half))
    new = map(int, at_once([python(WRITE, url, tmp_path / f"rows-{number}") for number in range(2)]))
    assert sum(new) == len(_stored(url)) == len(set(_stored(url))) == _counted(store) == 3_000


# --- ids -------------------------------------------------------------------------------------------------------------


@given(MOMENTS, MOMENTS)
def test_an_id_of_ours_holds_its_time(one: datetime, other: datetime) -> None:
    """The time of an execution can be read from its id to the microsecond, and ids sort as their times do."""
    assert moment_of(new_id(one)) == one
    assert (one < other) is (new_id(one)[:16] < new_id(other)[:16])
    assert new_id(one) != new_id(one)
    many, timed = new_ids([one, other] * 3)
    assert len(set(many)) == 6
    assert [moment_of(made) for made in many] == [one, other] * 3 == timed
    assert microseconds_of(timed) == microseconds_of([one, other] * 3)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=5))
def test_many_times_are_written_as_each_alone(moments: list[datetime]) -> None:
    """SQLite's text of many times at once is that of each, before 1970 and in its first second too."""
    moments += [datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in range(len(moments))]
    assert sqlite_texts(microseconds_of(moments)) == list(map(sqlite_text, moments))


@pytest.mark.parametrize("moment", [datetime(1960, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)])
def test_of_many_times_one_that_our_ids_do_not_hold(store: ExecutionStore, moment: datetime) -> None:
    """Each of them gets an id, and each execution is stored with its own time."""
    given = [{"tool_name": "t", "success": True, "executed_at": at} for at in (NOW, moment, NOW)]
    assert store.store_tool_executions(given) == 3
    with store.database.read() as connection:
        assert set(connection.scalars(sa.select(tool_executions.c.executed_at))) == {NOW, moment}


@pytest.mark.parametrize(
    "name", ["rg", "rg" + "0" * 29, "rg" + "0" * 31, "rg" + "F" * 30, "rg2" + "0" * 29, "RG" + "0" * 30]
)
def test_what_only_looks_like_an_id_of_ours_is_the_callers(store: ExecutionStore, name: str) -> None:
    """An id that Rollguard cannot have made says nothing of its time, and is stored once whatever time is beside it."""
    assert moment_of(name) is None
    for at in (NOW, NOW - WEEK):
        store.store_tool_execution(tool_name="t", success=True, execution_id=name, executed_at=at)
    assert _counted(store) == 1


@pytest.mark.parametrize("moment", [datetime(1960, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)])
def test_a_time_that_our_ids_do_not_hold(store: ExecutionStore, url: str, moment: datetime) -> None:
    """An execution of a time before 1970 or after 2255 gets an id that is stored once as a caller's."""
    rows = [store.executions.row(tool_name="t", success=True, executed_at=moment) for _ in range(3)]
    assert [store.executions.write(rows), store.executions.write(rows)] == [3, 0]
    assert moment_of(str(rows[0].execution_id)) is None


class TestPostgreSQL:
    """What partitions and COPY bring with them."""

    @pytest.fixture
    def dialect(self) -> str:
        return "postgresql"

    def test_the_database_reads_an_id_as_we_do(self, store: ExecutionStore, url: str) -> None:
        """PostgreSQL finds the same time in an id, to the microsecond, and none in a caller's."""
        moments = [datetime(1970, 1, 1, tzinfo=UTC), NOW, datetime(2255, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)]
        for moment in moments:
            assert ask(url, f"SELECT rollguard_time_of_id('{new_id(moment)}') AS held") == [{"held": moment}]
        for name in ("a", "rg", "rg2" + "0" * 29, "rg" + "F" * 30, "rg" + "0" * 30 + "\n"):
            assert ask(url, f"SELECT rollguard_time_of_id('{name}') AS held") == [{"held": None}]

    def test_ids_of_ours_take_no_room_among_the_callers(self, store: ExecutionStore, url: str) -> None:
        """Only callers' ids are in `execution_keys`, whichever way their rows came."""
        store.store_tool_executions(_executions(3))
        store.store_tool_execution(tool_name="t", success=True)
        store.store_tool_executions({"tool_name": "t", "success": True, "execution_id": name} for name in "ab")
        store.store_tool_execution(tool_name="t", success=True, execution_id="c")
        assert ask(url, "SELECT execution_id AS id FROM execution_keys ORDER BY 1") == [{"id": name} for name in "abc"]

    def test_another_programs_plain_insert_and_copy(self, store: ExecutionStore, url: str) -> None:
        """A plain INSERT and a COPY of an id that Rollguard gave add no row; with another time they are refused."""
        given = store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
        insert = (
            "INSERT INTO tool_executions (tool_name, success, execution_id, executed_at) VALUES ('t', TRUE, '{}', '{}')"
        )
        ask(url, insert.format(given, NOW))
        copy = "COPY tool_executions (tool_name, success, execution_id, executed_at) FROM STDIN"
        with psycopg.connect(url) as connection, connection.cursor() as cursor, cursor.copy(copy) as rows:
            for name in (given, given, "own"):
                rows.write_row(("t", True, name, NOW))
        with pytest.raises(psycopg.errors.CheckViolation, match="gave to an execution at"):
            ask(url, insert.format(given, NOW - WEEK))
        assert _stored(url) == [(given,), ("own",)]
        assert _counted(store) == 2

    def test_what_was_in_the_default_partition_is_known_there(self, store: ExecutionStore, url: str) -> None:
        """Without a partition of their week rows go to the default one, and their ids are known there too."""
        rows = [store.executions.row(**execution) for execution in _executions(5, executed_at=NOW - 50 * WEEK)]
        assert [store.executions.write(rows), store.executions.write(rows)] == [5, 0]
        assert ask(url, "SELECT COUNT(*) AS n FROM tool_executions_default") == [{"n": 5}]

    def test_partitions_made_later_hold_ids_once(self, store: ExecutionStore) -> None:
        """A partition that is made ahead stores an id of ours once as well."""
        store.tidy(now=NOW)
        rows = [store.executions.row(**execution) for execution in _executions(5, executed_at=NOW + WEEK)]
        assert [store.executions.write(rows), store.executions.write(rows)] == [5, 0]

    def test_the_connection_is_lost_in_the_middle(self, store: ExecutionStore, url: str) -> None:
        """When the server ends the connection during a bulk write, nothing is stored, and the next write works."""

        def cut_off() -> Iterator[dict[str, Any]]:
            yield from _executions(5_000)
            ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY tool_executions%'")
            yield from _executions(50_000)

        with pytest.raises(StoreUnavailable):
            store.store_tool_executions(cut_off())
        assert _stored(url) == []
        assert store.store_tool_executions(_executions(10)) == 10

    def test_what_the_database_refuses_is_told_in_our_words(self, store: ExecutionStore) -> None:
        """A row that a constraint refuses during COPY is an error of ours."""
        row, other = (store.executions.row(tool_name="t", success=True) for _ in range(2))
        with pytest.raises(RollguardError, match="ck_tool_executions_duration"):
            store.executions.write([row, other._replace(duration_ms=-1.0)])

    def test_a_store_with_ids_of_before(self, new_url: Callable[[], str]) -> None:
        """Ids that an earlier version made are known after the upgrade."""
        url = new_url()
        make_old_store(url)
        old = Database(url)
        with old.write() as connection:
            for i in range(3):
                connection.execute(
                    sa.text("INSERT INTO tool_executions (tool_name, success, execution_id) VALUES ('t', TRUE, :id)"),
                    {"id": f"{i:032x}"},
                )
        old.close()
        with ExecutionStore(url) as store:
            again = [{"tool_name": "t", "success": True, "execution_id": f"{i:032x}"} for i in range(4)]
            assert store.store_tool_executions(again) == 1
