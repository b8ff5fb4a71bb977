"""Rollups hold exactly what the raw rows hold, however the executions arrive."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore
from rollguard.judge import Window, score_bucket
from rollguard.judge.histogram import EDGES, RELATIVE_ERROR, bucket_of, count_above, percentiles
from rollguard.store.executions import bulk_insert as bulk
from rollguard.store.rollups import first_hour_cache
from rollguard.store.rollups.intervals import HOUR, MINUTE, RAW, intervals, split_last_hour
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.refresh import refresh
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW, examples
from tests.postgres import PostgresServer

# Times that lie on, beside and between the edges of minutes and hours.
MOMENTS = st.builds(
    lambda minutes, beside: NOW + timedelta(minutes=minutes, microseconds=beside),
    st.integers(-200, 200),
    st.sampled_from([0, -1, 1]) | st.integers(0, 59_999_999),
)
DURATIONS = st.none() | st.sampled_from(EDGES) | st.floats(0, 2e8) | st.just(0.0)
EXECUTIONS = st.fixed_dictionaries(
    {
        "tool_name": st.sampled_from(["a", "b"]),
        "success": st.booleans(),
        "error_type": st.sampled_from([None, "KeyError", "OSError"]),
        "duration_ms": DURATIONS,
        "executed_at": MOMENTS,
        "version_number": st.sampled_from([None, 1, 2]),
        "execution_id": st.integers(0, 60).map(str),
        "request_id": st.sampled_from([None, None, "one", "other"]),
        "score": st.none() | st.sampled_from([0.0, 0.29, 0.575, 1.0]) | st.floats(0, 1),
    }
)
AMENDMENTS = st.fixed_dictionaries(
    {
        "success": st.sampled_from([None, True, False]),
        "score": st.sampled_from([0.0, 0.29, 1.0]),
        "reason": st.sampled_from([None, "KeyError: amended", "wrong"]),
    }
)
STEPS = st.lists(
    st.tuples(st.just("bulk"), st.lists(EXECUTIONS, min_size=1, max_size=25))
    | st.tuples(st.just("insert"), EXECUTIONS)
    | st.tuples(st.just("amend"), st.tuples(st.integers(0, 60).map(str), AMENDMENTS))
    | st.tuples(st.just("refresh"), st.none()),
    min_size=1,
    max_size=8,
)
SELECTIONS = st.builds(
    Selection,
    st.sampled_from(["a", "b"]),
    MOMENTS,
    MOMENTS,
    only=st.sampled_from([None, 0, 1]),
    but=st.sampled_from([(), (0,), (2,), (0, 2)]),
    leave_out=st.sampled_from([(), ("KeyError",)]),
    collapse=st.just(0.0),
    repeated=st.booleans(),
)

INSERT = sa.text(
    "INSERT INTO tool_executions (tool_name, success, error_type, duration_ms, executed_at, version_number, "
    "request_id, score) VALUES (:tool_name, :success, :error_type, :duration_ms, :executed_at, :version_number, "
    ":request_id, :score)"
).bindparams(sa.bindparam("executed_at", type_=sa.DateTime(timezone=True)))


def _insert(store: ExecutionStore, execution: dict[str, Any]) -> None:
    """What another program does: an INSERT of its own."""
    row = {"request_id": None, "score": None, **execution}
    if store.database.dialect == "sqlite":
        row["executed_at"] = row["executed_at"].replace(tzinfo=None)
    with store.database.write() as connection:
        connection.execute(INSERT, row)


def _amend(store: ExecutionStore, stored: list[dict[str, Any]], execution_id: str, amendment: dict[str, Any]) -> None:
    """Amend a stored execution by that id, the last one stored if there is none, here as in the store."""
    known = [row for row in stored if row["execution_id"] is not None]
    if not known:
        return
    place = next((n for n, row in enumerate(stored) if row["execution_id"] == execution_id), stored.index(known[-1]))
    reason = amendment["reason"] if amendment["success"] is False else None
    given_to_it = {**amendment, "reason": reason, "now": NOW - timedelta(days=1)}
    store.amend(stored[place]["execution_id"], **given_to_it)
    assert not store.amend(stored[place]["execution_id"], **given_to_it)
    after = {"score": amendment["score"]}
    if amendment["success"] is not None:
        after |= {"success": amendment["success"]}
    if amendment["success"]:
        after |= {"error_type": None}
    elif reason is not None:
        after |= {"error_type": "KeyError" if "Error" in reason else None}
    stored[place] = stored[place] | after


def _expected(rows: list[dict[str, Any]], selection: Selection) -> list[dict[str, Any]]:
    last = {(row["tool_name"], row.get("request_id")): row for row in sorted(rows, key=lambda one: one["executed_at"])}
    return [
        row
        for row in rows
        if (row.get("request_id") is None or last[row["tool_name"], row["request_id"]] is row)
        and row["tool_name"] == selection.tool_name
        and selection.start <= row["executed_at"] < selection.end
        and selection.only in (None, row["version_number"] or 0)
        and (row["version_number"] or 0) not in selection.but
        and (row["success"] or row["error_type"] not in selection.leave_out)
    ]


def _check(store: ExecutionStore, steps: list[tuple[str, Any]], selections: list[Selection]) -> None:
    stored: list[dict[str, Any]] = []
    rollups = Rollups(store.database)  # one, since it remembers
    for action, given_to_it in steps:
        if action == "refresh":
            with store.database.write() as connection:
                refresh(connection)
        elif action == "amend":
            _amend(store, stored, *given_to_it)
        elif action == "insert":
            _insert(store, given_to_it)
            stored.append({**given_to_it, "execution_id": None})
        else:
            store.store_tool_executions(given_to_it)
            for execution in given_to_it:
                if execution["execution_id"] not in {row["execution_id"] for row in stored}:
                    stored.append(execution)
        windows = rollups.count([[selection] for selection in selections])
        assert windows == rollups.count([[selection] for selection in selections])
        for selection, window in zip(selections, windows, strict=True):
            _same(window, _expected(stored, selection))
            latest = rollups.outcomes([selection], len(stored) + 1)
            expected = sorted(row["executed_at"] for row in _expected(stored, selection))
            assert [row[0] for row in latest] == expected[::-1]
        for series, selection in zip(store.executions.by_minute([[s] for s in selections]), selections, strict=True):
            expected = [row["executed_at"] for row in _expected(stored, selection)]
            assert sum(window.total for _minute, window in series) == len(expected)
            minutes = {minute for minute, window in series if window.total}
            assert minutes == {moment.replace(second=0, microsecond=0) for moment in expected}


def _same(window: Window, rows: list[dict[str, Any]]) -> None:
    durations = [row["duration_ms"] for row in rows if row["duration_ms"] is not None]
    assert (window.total, window.successes, window.timed) == (
        len(rows),
        sum(row["success"] for row in rows),
        len(durations),
    )
    assert window.duration_sum_ms == pytest.approx(
        math.fsum(durations), rel=1e-9, abs=1e-5
    )  # what is subtracted was longer
    histogram = dict(window.histogram)
    for edge in (0, 100, 250, len(EDGES) - 1):
        assert count_above(histogram, edge) == sum(duration > EDGES[edge] for duration in durations)
    scores = Counter(score_bucket(row["score"]) for row in rows if row.get("score") is not None)
    assert window.scores == tuple(sorted(scores.items()))


@examples(20)
@given(STEPS, st.lists(SELECTIONS, min_size=1, max_size=4))
def test_rollups_agree_with_raw_rows_on_sqlite(steps: list[tuple[str, Any]], selections: list[Selection]) -> None:
    """Late, out of order, in bulk, by another program, or repeated: every window holds what the raw rows hold."""
    with (
        pytest.MonkeyPatch.context() as patched,
        tempfile.TemporaryDirectory() as folder,
        ExecutionStore(f"sqlite:///{folder}/rollguard.db") as store,
    ):
        patched.setattr(bulk, "REFRESH_THRESHOLD", 6)  # so that some of the writes refresh, others leave it
        patched.setattr(first_hour_cache, "_CACHED_FROM", 1)
        _check(store, steps, selections)


@examples(20)
@given(steps=STEPS, selections=st.lists(SELECTIONS, min_size=1, max_size=4))
def test_rollups_agree_with_raw_rows_on_postgresql(
    postgres: PostgresServer, steps: list[tuple[str, Any]], selections: list[Selection]
) -> None:
    """Late, out of order, in bulk, by another program, or repeated: every window holds what the raw rows hold."""
    with pytest.MonkeyPatch.context() as patched, ExecutionStore(postgres.new_database()) as store:
        patched.setattr(first_hour_cache, "_CACHED_FROM", 1)
        _check(store, steps, selections)


def test_a_window_is_the_sum_of_its_selections(store: ExecutionStore) -> None:
    """Several selections of one window are added up; a window without any is empty."""
    for version in (1, 2):
        store.store_tool_execution(tool_name="a", success=True, executed_at=NOW, version_number=version)
    end = NOW + timedelta(hours=1)
    both = [Selection("a", NOW, end, only=1), Selection("a", NOW, end, only=2)]
    assert [w.total for w in Rollups(store.database).count([both, [], both[:1]])] == [2, 0, 1]


def test_an_older_stores_executions_are_counted(store: ExecutionStore) -> None:
    """More executions than are read raw are aggregated by the check that finds them, and counted once."""
    rows = [{"tool_name": "a", "success": i % 3 != 0, "executed_at": NOW + timedelta(seconds=i)} for i in range(1_200)]
    for row in rows[:600]:
        _insert(store, {**row, "duration_ms": 1.0, "version_number": None, "error_type": None})
    store.store_tool_executions(rows[600:])
    rollups = Rollups(store.database)
    store.executions.refresh_rollups()
    (window,) = rollups.count([[Selection("a", NOW, NOW + timedelta(days=1))]])
    assert (window.total, window.successes) == (1_200, 800)


def _waiting(store: ExecutionStore) -> int:
    after = "tool_executions WHERE id > (SELECT rolled_to FROM rollup_state)"
    table = after if store.database.dialect == "sqlite" else "tool_execution_deltas"
    with store.database.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar_one())


def _write_minutes(store: ExecutionStore) -> None:
    for batch in range(12):  # each of fewer executions than make a refresh due
        store.store_tool_executions(
            {"tool_name": "a", "success": True, "executed_at": NOW + timedelta(minutes=60 * batch + i)}
            for i in range(50)
        )


def test_who_writes_refreshes(store: ExecutionStore) -> None:
    """A program whose executions nobody checks leaves no more to aggregate than is as quickly read raw."""
    _write_minutes(store)
    assert _waiting(store) == 100


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_who_writes_does_not_wait_for_another_refresh(store: ExecutionStore) -> None:
    """While one process refreshes, another one that writes leaves it to that one."""
    with store.database.write() as connection:
        refresh(connection)
        _write_minutes(store)
    assert _waiting(store) == 600


@given(MOMENTS, MOMENTS)
def test_intervals_cover_a_time_exactly(start: datetime, end: datetime) -> None:
    """Intervals adjoin, cover [start, end) exactly, and are whole minutes and hours if their width says so."""
    found = list(intervals(start, end))
    assert [s.start for s in found] == ([start, *(s.end for s in found[:-1])] if start < end else [])
    assert not found or found[-1].end == end
    for interval in found:
        assert interval.width in (RAW, MINUTE, HOUR)
        if interval.width:
            assert interval.start.timestamp() % interval.width == 0
            assert interval.end.timestamp() % interval.width == 0
        else:
            assert interval.end - interval.start < timedelta(minutes=2)
    assert sum(1 for s in found if s.width == MINUTE and s.end - s.start >= timedelta(hours=2)) == 0


@given(MOMENTS, MOMENTS)
def test_a_last_hour_begins_with_the_last_full_hour(start: datetime, end: datetime) -> None:
    """Intervals and a last hour cover a time exactly; the last hour knows the minutes around its end."""
    found, last_hour = split_last_hour(start, end)
    if last_hour is None:
        assert found == list(intervals(start, end))
        return
    assert found == list(intervals(start, last_hour.start))
    assert (last_hour.start.minute, last_hour.start.second, last_hour.start.microsecond) == (0, 0, 0)
    assert start <= last_hour.start < last_hour.end == end < last_hour.next_hour == last_hour.start + timedelta(hours=1)
    assert last_hour.minute <= end <= last_hour.next_minute <= last_hour.next_hour
    assert last_hour.next_minute - last_hour.minute == timedelta(minutes=0 if last_hour.minute == end else 1)


@pytest.mark.parametrize("refreshed", [True, False])
@pytest.mark.parametrize("later", [None, timedelta(microseconds=1), timedelta(seconds=20), timedelta(minutes=30)])
def test_a_window_ends_where_it_ends(store: ExecutionStore, refreshed: bool, later: timedelta | None) -> None:
    """What comes later is not counted, be it in the same minute or the same hour; what comes before is, all of it."""
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    end = hour + timedelta(minutes=20, seconds=30)
    at = [hour, hour + timedelta(minutes=5), end - timedelta(seconds=10), end - timedelta(microseconds=1)]
    at += [] if later is None else [end + later]
    store.store_tool_executions({"tool_name": "a", "success": True, "executed_at": moment} for moment in at)
    if refreshed:
        store.fold()
    for version in (None, 0):
        (window,) = Rollups(store.database).count([[Selection("a", hour - timedelta(hours=3), end, only=version)]])
        assert window.total == 4


def test_a_minute_whose_rows_are_gone_is_not_guessed_at(store: ExecutionStore) -> None:
    """Where a window ends inside a minute that is known by its rollup alone, that part of the minute is empty."""
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    for minutes in (5, 20):
        store.store_tool_execution(tool_name="a", success=True, executed_at=hour + timedelta(minutes=minutes))
    store.fold()
    with store.database.write() as connection:
        connection.execute(sa.text("DELETE FROM tool_executions"))
    ends = [hour + timedelta(minutes=20, seconds=30), hour + timedelta(minutes=21)]
    assert [w.total for w in Rollups(store.database).count([[Selection("a", hour, end)] for end in ends])] == [1, 2]


@given(st.lists(st.floats(0.001, 1e8), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_within_the_stated_error(durations: list[float], share: float) -> None:
    """A percentile read from the histogram is within the stated relative error of the exact one."""
    histogram: dict[int, int] = {}
    for duration in durations:
        histogram[bucket_of(duration)] = histogram.get(bucket_of(duration), 0) + 1
    exact = sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]
    found = percentiles(sorted(histogram.items()), [share, 1.0])
    assert found == pytest.approx([exact, max(durations)], rel=RELATIVE_ERROR)


def test_no_durations_have_no_percentile() -> None:
    """Without durations there is no percentile, and executions recorded without one do not count."""
    assert percentiles([], [0.5]) == (None,)
    assert percentiles([(-1, 10)], [0.5, 0.9]) == (None, None)
    assert percentiles([(-1, 10), (bucket_of(5.0), 1)], [0.5]) == pytest.approx([5.0], rel=RELATIVE_ERROR)


@pytest.mark.parametrize("edge", [0, 1, 48, 300, len(EDGES) - 1])
def test_an_edge_belongs_to_the_bucket_below(store: ExecutionStore, edge: int) -> None:
    """A duration of exactly an edge is in the same bucket in Python and in the database; a hair more is in the next."""
    durations = [EDGES[edge], math.nextafter(EDGES[edge], math.inf)]
    store.store_tool_executions(
        {"tool_name": "a", "success": True, "duration_ms": d, "executed_at": NOW} for d in durations
    )
    row = {"tool_name": "a", "success": True, "error_type": None, "executed_at": NOW, "version_number": None}
    for duration in durations:
        _insert(store, {**row, "duration_ms": duration})
    (window,) = Rollups(store.database).count([[Selection("a", NOW, NOW + timedelta(hours=1))]])
    assert window.histogram == ((edge, 2), (edge + 1, 2))
    assert [bucket_of(duration) for duration in durations] == [edge, edge + 1]


def test_what_is_written_at_once_is_aggregated_exactly(store: ExecutionStore) -> None:
    """Large writes are in the rollups as they are in the rows, after small ones, with and without repeated ids."""
    rows = [
        {
            "tool_name": f"tool {i % 3}",
            "success": i % 7 != 0,
            "error_type": f"Error{i % 2}" if i % 7 == 0 and i % 3 else None,
            "duration_ms": None if i % 11 == 0 else i * 7919 % 1000 / 3,
            "executed_at": NOW + timedelta(seconds=i * 13 % 9_000),
            "version_number": i % 2 or None,
            "execution_id": f"call {i}",
        }
        for i in range(3_000)
    ]
    for row in rows[:10]:
        store.store_tool_execution(**row)
    assert store.store_tool_executions(rows[10:1_500]) == 1_490
    assert store.store_tool_executions(rows[1_000:]) == 1_500
    store.fold()
    for tool in range(3):
        selection = Selection(f"tool {tool}", NOW + timedelta(minutes=1), NOW + timedelta(minutes=140))
        (window,) = Rollups(store.database).count([[selection]])
        expected = _expected(rows, selection)
        _same(window, expected)
        assert window.histogram == tuple(sorted(Counter(bucket_of(row["duration_ms"]) for row in expected).items()))


@pytest.mark.parametrize("number", [3, 600])
def test_requests_written_at_once_count_once(store: ExecutionStore, number: int) -> None:
    """Of executions that share a request, few or many and in one write or two, the last one counts, and no other."""
    rows = [
        {
            "tool_name": "a",
            "success": attempt == 2,
            "executed_at": NOW + timedelta(seconds=attempt),
            "request_id": f"request {i}",
        }
        for attempt in range(3)
        for i in range(number)
    ]
    store.store_tool_executions(rows[:number])
    store.store_tool_executions(rows[number:])
    (window,) = store.executions.count([[Selection("a", NOW, NOW + timedelta(hours=1))]])
    assert (window.total, window.successes) == (number, number)


def test_many_refreshes_at_once_are_safe(store: ExecutionStore) -> None:
    """Refreshing while others refresh and record loses nothing and counts nothing twice."""

    def work(number: int) -> None:
        for batch in range(5):
            store.store_tool_executions(
                {
                    "tool_name": "a",
                    "success": True,
                    "duration_ms": 1.0,
                    "executed_at": NOW,
                    "execution_id": f"{number} {batch} {i}",
                }
                for i in range(40)
            )
            with store.database.write() as connection:
                refresh(connection)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    (window,) = Rollups(store.database).count([[Selection("a", NOW, NOW + timedelta(hours=1))]])
    assert window.total == 1_200


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_the_schemas_buckets_are_the_judges(store: ExecutionStore) -> None:
    """The function of the schema puts each edge, and its neighbours, into the bucket that the judge does."""
    durations = [near for edge in EDGES for near in (math.nextafter(edge, 0), edge, math.nextafter(edge, math.inf))]
    query = sa.text("SELECT rollguard_bucket(ms) FROM unnest(CAST(:durations AS float8[])) AS ms")
    with store.database.read() as connection:
        buckets = connection.scalars(query, {"durations": durations}).all()
    assert buckets == [bucket_of(ms) for ms in durations]
