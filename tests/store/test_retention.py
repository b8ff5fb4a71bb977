"""Retention removes what is old and not needed, in small steps, and changes no count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rollguard import AutonomousLoop, ExecutionStore
from rollguard.errors import InvalidSetting, StoreBusy
from rollguard.judge import Rules, Window
from rollguard.loop.stages import RetentionStage
from rollguard.model.session import Session
from rollguard.store import Tidied
from rollguard.store.database.types import UTCDateTime
from rollguard.store.retention.raw_reads import removable_before
from rollguard.store.retention.retention import STEP
from rollguard.store.rollups.query import Rollups
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW, Guard, examples

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
CUTOFF = NOW - 30 * DAY
START = NOW - 100 * DAY


def _times(store: ExecutionStore, tool: str = "t") -> list[datetime]:
    """When the executions that are still there began."""
    query = sa.text("SELECT executed_at FROM tool_executions WHERE tool_name = :tool ORDER BY executed_at")
    with store.database.read() as connection:
        return list(connection.scalars(query.columns(executed_at=UTCDateTime), {"tool": tool}))


def _record(store: ExecutionStore, times: list[datetime], tool: str = "t", **fields: Any) -> None:
    store.store_tool_executions(
        {"tool_name": tool, "success": i % 3 != 0, "duration_ms": float(i % 50), "executed_at": at, **fields}
        for i, at in enumerate(times)
    )


def _watch(store: ExecutionStore, at: datetime, tool: str = "t", **rules: int) -> Session:
    return store.sessions.start(tool, at, Rules(**rules), version_number=None, notes=None, now=at)


def _total(store: ExecutionStore, tool: str = "t") -> Window:
    (window,) = Rollups(store.database).count([[Selection(tool, START, NOW + DAY)]])
    return window


def _tidy(store: ExecutionStore, now: datetime = NOW) -> int:
    """Tidy until nothing is left to do; how many rows were removed one by one is returned."""
    rows, done = 0, Tidied(finished=False)
    while not done.finished:
        done = store.tidy(now=now)
        rows += done.rows
    return rows


def _done(tidied: Tidied) -> tuple[int, bool]:
    return tidied.rows, tidied.finished


def test_what_is_older_is_removed_and_its_counts_stay(store: ExecutionStore) -> None:
    """Executions older than the days are removed, younger ones not, and every window counts what it counted before."""
    edge = [CUTOFF - timedelta(microseconds=1), CUTOFF, CUTOFF + timedelta(microseconds=1)]
    _record(store, [NOW - DAY * 0.7 * i for i in range(100)] + edge)
    _record(store, [NOW - DAY * i for i in range(90)] + [NOW], tool="u")
    before = [_total(store), _total(store, "u")]
    young = [[at for at in _times(store, tool) if at >= CUTOFF] for tool in "tu"]
    assert _tidy(store) == 58 + 59
    assert [_times(store, tool) for tool in "tu"] == young
    assert [_total(store), _total(store, "u")] == before
    assert _done(store.tidy(now=NOW)) == (0, True)


def test_a_call_does_a_bounded_number_of_steps(store: ExecutionStore) -> None:
    """Each step removes at most a step's rows, the oldest first, and a call makes no more steps than it may."""
    _record(store, [START + i * MINUTE for i in range(2 * STEP + 10)] + [NOW])
    assert _done(store.retention.tidy(NOW, steps=1)) == (STEP, False)
    assert _times(store)[0] == START + STEP * MINUTE
    assert _done(store.retention.tidy(NOW, steps=10)) == (STEP + 10, True)
    assert _times(store) == [NOW]


def test_executions_are_kept_for_ever_where_that_is_asked(url: str) -> None:
    """With 0 days nothing is ever removed."""
    with ExecutionStore(url, retention_days=0) as store:
        _record(store, [START, NOW])
        assert _done(store.tidy(now=NOW)) == (0, True)
        assert _times(store) == [START, NOW]


@pytest.mark.parametrize("days", [-1, 3_651, 1.5, True, "30"])
def test_days_out_of_range_are_refused(url: str, days: Any) -> None:
    """A number of days that cannot be meant is refused with what is allowed."""
    with pytest.raises(InvalidSetting, match=r"retention_days: .*1 to 3650"):
        ExecutionStore(url, retention_days=days)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_ids_are_never_given_twice(store: ExecutionStore) -> None:
    """On SQLite the row with the highest id stays, however old: what comes after it gets a higher one, and counts."""
    _record(store, [START + i * MINUTE for i in range(10)])
    assert _tidy(store) == 9
    _record(store, [NOW])
    with store.database.read() as connection:
        assert list(connection.scalars(sa.text("SELECT id FROM tool_executions"))) == [10, 11]
    assert _total(store).total == 11


def test_what_another_program_inserted_is_counted_before_it_is_removed(store: ExecutionStore) -> None:
    """Rows that no refresh has counted yet are in the rollups when they are gone."""
    insert = sa.text("INSERT INTO tool_executions (tool_name, success, executed_at) VALUES ('t', TRUE, :at)")
    with store.database.write() as connection:
        for hour in range(30):
            at = (START + hour * 60 * MINUTE).strftime("%Y-%m-%d %H:%M:%S")
            connection.execute(insert, {"at": at})
    _record(store, [NOW])
    assert _tidy(store) == 30
    assert (_total(store).total, len(_times(store))) == (31, 1)


def test_a_baseline_that_is_not_kept_yet_stays(store: ExecutionStore) -> None:
    """While a session's baseline is not kept its rows stay; once it is, or the session is over, they go."""
    deployed = NOW - 40 * DAY + timedelta(seconds=30)
    session = _watch(store, deployed, monitoring_window_hours=8_760)
    inside = [deployed - 7 * DAY + i * 60 * MINUTE for i in range(7 * 24)]
    edge = [deployed, deployed + timedelta(seconds=29)]
    _record(store, [START, deployed - 8 * DAY, *inside, *edge, deployed + MINUTE, NOW])
    before = store.executions.windows(session, NOW)
    assert _tidy(store) == 3
    assert _times(store) == [*inside, *edge, NOW]
    assert store.executions.windows(session, NOW) == before
    store.sessions.record_checks([], baselines={session.session_id: before[0]}, now=NOW)
    assert _tidy(store) == len(inside)
    assert _times(store) == [*edge, NOW]
    assert store.executions.windows(store.sessions.get(session.session_id), NOW) == before
    store.sessions.cancel(session.session_id, notes="enough", now=NOW)
    assert _tidy(store) == 2


SECONDS = st.integers(0, 90 * 86_400 * 1_000).map(lambda ms: START + timedelta(milliseconds=ms))


@examples(12)
@given(
    deployments=st.lists(SECONDS, min_size=1, max_size=4),
    times=st.lists(SECONDS, min_size=1, max_size=60),
    beside=st.lists(st.integers(-90_000, 90_000), max_size=20),
    hours=st.sampled_from([1, 24, 1_000, 8_760]),
    days=st.sampled_from([1, 7, 60]),
    kept=st.booleans(),
)
def test_reports_of_sessions_under_watch_do_not_change(
    new_store_url: Callable[[], str],
    deployments: list[datetime],
    times: list[datetime],
    beside: list[int],
    hours: int,
    days: int,
    kept: bool,
) -> None:
    """Whenever a tool was deployed and called, both windows of its session count the same before and after."""
    with ExecutionStore(new_store_url()) as store:
        near = [
            moment + timedelta(milliseconds=ms)
            for ms in beside
            for at in deployments
            for moment in (at, at - days * DAY, at + timedelta(hours=hours))
        ]
        sessions = []
        for number, at in enumerate(deployments):
            _record(store, times + near, tool=f"t{number}")
            sessions.append(_watch(store, at, f"t{number}", monitoring_window_hours=hours, baseline_window_days=days))
        asked = [(session, min(session.window_end, NOW)) for session in sessions]
        before = store.executions.windows_of(asked)
        if kept:
            baselines = {session.session_id: baseline for session, (baseline, _) in zip(sessions, before, strict=True)}
            store.sessions.record_checks([], baselines=baselines, now=NOW)
        _tidy(store)
        asked = [(store.sessions.get(session.session_id), until) for session, until in asked]
        assert store.executions.windows_of(asked) == before


def test_the_minute_where_a_late_sessions_baseline_begins_counts_as_empty(store: ExecutionStore) -> None:
    """A baseline that begins in a minute whose rows are gone counts from the next whole minute on."""
    deployed = NOW + timedelta(seconds=30)
    begins = deployed - 60 * DAY
    _record(store, [begins, begins + timedelta(seconds=29), begins + timedelta(seconds=30), NOW])
    _tidy(store)
    session = _watch(store, deployed, baseline_window_days=60)
    assert store.executions.windows(session, deployed)[0].total == 2


INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


@given(INTERVALS, st.integers(0, 30))
def test_free_is_what_is_not_needed(needed: list[tuple[int, int]], cutoff: int) -> None:
    """The free intervals are in order, apart from each other, and hold every moment that nothing needs and no other."""
    moments = [NOW + i * MINUTE for i in range(-1, 31)]
    intervals = [(NOW + a * MINUTE, NOW + b * MINUTE) for a, b in needed]
    free = list(removable_before(NOW + cutoff * MINUTE, intervals))
    found = [at for at in moments for start, end in free if (start is None or start <= at) and at < end]
    assert found == [
        at for at in moments if at < NOW + cutoff * MINUTE and not any(start <= at < end for start, end in intervals)
    ]


def _write_until(done: threading.Event, store: ExecutionStore) -> Iterator[float]:
    while not done.is_set():
        began = time.monotonic()
        store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
        yield time.monotonic() - began


@pytest.mark.long
def test_writers_are_not_blocked(url: str) -> None:
    """While many executions are removed another thread records on, each time at once, and nothing of it is lost."""
    with ExecutionStore(url) as store, ExecutionStore(url, busy_timeout=1.0) as writer:
        _record(store, [START + i * MINUTE for i in range(30_000)], parameters={"text": "x" * 500})
        store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
        done, waited, failed = threading.Event(), [0.0], []

        def write() -> None:
            try:
                waited.extend(_write_until(done, writer))
            except Exception as error:  # noqa: BLE001 - reported to the test
                failed.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        removed = _tidy(store)
        done.set()
        thread.join()
        assert failed == []
        assert (removed, len(_times(store))) == (30_000, len(waited))
        assert _total(store).total == 30_000 + len(waited)
        assert len(waited) > 20
        assert max(waited) < 1.0


def test_many_who_tidy_at_once_are_safe(url: str) -> None:
    """Several processes may tidy one store at the same time: each row is removed once, and no count changes."""
    with ExecutionStore(url) as store:
        _record(store, [START + i * MINUTE for i in range(5_000)] + [NOW])
        before = _total(store)
        removed: list[int] = []
        threads = [threading.Thread(target=lambda: removed.append(_tidy(store))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (sum(removed), len(_times(store))) == (5_000, 1)
        assert _total(store) == before


async def test_the_loop_tidies_once_a_cycle(guard: Guard) -> None:
    """A cycle of the loop removes what is old after it has looked after the sessions."""
    guard.calls(90, 10, start=START)
    guard.calls(19, 1, start=NOW - 2 * DAY)
    guard.deploy(1)
    session_id = guard.watch()
    cycle = await AutonomousLoop(guard.monitor).check_deployment_health(now=NOW + DAY / 24)
    assert (cycle["checks"], cycle["errors"]) == (1, 0)
    assert len(_times(guard.store, "my_tool")) == 20
    assert guard.store.sessions.checks(session_id)[0]["baseline_total_executions"] == 20


class Untidy(RetentionStage):
    """Nothing can be removed at the moment."""

    def run(self, now: datetime | None) -> dict[str, int]:
        raise StoreBusy("the store is locked by another process for too long")


async def test_what_cannot_be_removed_does_not_stop_the_loop(guard: Guard) -> None:
    """A cycle in which nothing can be removed has made its checks, and counts it as an error."""
    guard.watch()
    loop = AutonomousLoop(guard.monitor)
    loop.stages = [Untidy(guard.store) if stage.name == "retention" else stage for stage in loop.stages]
    cycle = await loop.check_deployment_health(now=NOW + DAY / 24)
    assert (cycle["checks"], cycle["errors"]) == (1, 1)


def test_requests_are_looked_through_before_their_rows_go(store: ExecutionStore) -> None:
    """Old executions of a request that arrive late, and are removed before anybody counts, count once all the same."""
    old = NOW - timedelta(days=60)
    store.store_tool_executions(
        {"tool_name": "t", "success": ok, "executed_at": old + timedelta(seconds=i), "request_id": "r"}
        for i, ok in enumerate((False, False, True))
    )
    store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
    assert store.tidy(now=NOW).rows == 3
    counted = store.executions.count([[Selection("t", old - timedelta(hours=1), old + timedelta(hours=1))]])[0]
    assert (counted.total, counted.successes) == (1, 1)


def test_a_part_of_a_minute_without_rows_takes_nothing_off(store: ExecutionStore) -> None:
    """Where a window begins in a minute whose rows are gone that part is empty, though requests were retried in it."""
    old = NOW - timedelta(days=60)
    store.store_tool_executions(
        {"tool_name": "t", "success": ok, "executed_at": old + timedelta(seconds=20 + i), "request_id": "r"}
        for i, ok in enumerate((False, False, True))
    )
    store.store_tool_executions(
        {"tool_name": "t", "success": False, "executed_at": old + timedelta(minutes=3, seconds=i)} for i in range(5)
    )
    store.store_tool_execution(tool_name="t", success=True, executed_at=NOW)
    whole = Selection("t", old, old + timedelta(hours=1))
    part = Selection("t", old + timedelta(seconds=10), old + timedelta(hours=1))
    assert [window.total for window in store.executions.count([[whole], [part]])] == [6, 6]
    assert store.tidy(now=NOW).rows == 8
    assert [window.total for window in store.executions.count([[whole], [part]])] == [6, 5]
