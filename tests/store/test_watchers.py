"""Signs of life: one row for each watcher, by the database's clock, and people are notified once of a silent one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.model.watcher import Coverage, Watcher, WatcherState
from rollguard.store.schema import watchers as w
from tests.conftest import NOW

MINUTE = timedelta(minutes=1)
INTERVAL = timedelta(minutes=5)


def beat(store: ExecutionStore, name: str = "a", *, checked: bool = False, interval: float = 300.0) -> Watcher:
    """Give a sign of life, and return the watcher's row."""
    found = store.watchers.beat(name, host="web", pid=1, interval_seconds=interval, checked=checked, since=None)
    return next(watcher for watcher in found if watcher.watcher_id == name)


def make(store: ExecutionStore, name: str, **changed: Any) -> None:
    """Change a row, as time would."""
    with store.database.write() as connection:
        connection.execute(sa.update(w).where(w.c.watcher_id == name).values(**changed))


def test_a_sign_of_life_is_one_row(store: ExecutionStore) -> None:
    """Each sign of life updates the row: since when, the latest, and the latest cycle."""
    first = beat(store)
    assert (first.state, first.checked_at) == (WatcherState.WATCHING, None)
    second = beat(store, checked=True)
    assert (second.started_at, second.checked_at) == (first.started_at, second.seen_at)
    assert beat(store).checked_at == second.checked_at
    assert len(store.watchers.all()) == 1
    store.watchers.leave("a")
    assert store.watchers.all() == []


def test_what_counts_is_the_databases_clock(store: ExecutionStore) -> None:
    """A watcher's row holds times of the database, whatever the clock of its machine says."""
    found = beat(store, checked=True)
    assert found.as_of - found.seen_at < MINUTE
    assert found.as_of.tzinfo is UTC
    assert abs(found.as_of - datetime.now(UTC)) < MINUTE


def test_silent_and_behind(store: ExecutionStore) -> None:
    """Without a sign of life for a minute a watcher is silent; without a cycle for two intervals it is behind."""
    now = beat(store).as_of
    make(store, "a", seen_at=now - MINUTE * 2, started_at=now - MINUTE * 20)
    (found,) = store.watchers.all()
    assert (found.state, round(found.silent_for / MINUTE)) == (WatcherState.SILENT, 2)
    found = beat(store)
    assert (found.state, round(found.behind / MINUTE)) == (WatcherState.BEHIND, 15)
    assert beat(store, checked=True).state is WatcherState.WATCHING


def test_people_are_notified_once_of_each_silence(store: ExecutionStore) -> None:
    """However many watchers find a silent one, there is one notification; after a sign of life there may be another."""
    for silence in (1, 2):
        now = beat(store).as_of
        make(store, "a", seen_at=now - MINUTE * 2)
        found = store.watchers.all()
        reports = [store.watchers.report(found, lambda one: {"of": one.watcher_id}, NOW) for _ in range(3)]
        assert reports == [1, 0, 0]
        assert store.watchers.report(store.watchers.all(), lambda one: {"of": one.watcher_id}, NOW) == 0
        assert store.outbox.undelivered() == silence


def test_one_that_lives_again_is_not_reported(store: ExecutionStore) -> None:
    """A sign of life between the look and the report makes the report void."""
    now = beat(store).as_of
    make(store, "a", seen_at=now - MINUTE * 2)
    found = store.watchers.all()
    beat(store)
    assert store.watchers.report(found, lambda _one: {}, NOW) == 0


def test_rows_of_the_dead_are_removed_after_a_day(store: ExecutionStore) -> None:
    """A watcher that is silent for a day is forgotten, after people were notified of it."""
    now = beat(store).as_of
    make(store, "a", seen_at=now - MINUTE * 60 * 25)
    assert store.watchers.report(store.watchers.all(), lambda _one: {}, NOW) == 1
    assert store.watchers.all() == []


@pytest.mark.parametrize(
    ("watcher", "checked", "expected"),
    [
        (None, None, Coverage.NOBODY),
        (None, MINUTE * 11, Coverage.NOBODY),
        (None, MINUTE * 4, Coverage.SINGLE_CYCLES),
        (MINUTE * 0, None, Coverage.WATCHED),
        (MINUTE * 2, None, Coverage.NOBODY),
    ],
)
def test_who_watches(
    store: ExecutionStore, watcher: timedelta | None, checked: timedelta | None, expected: Coverage
) -> None:
    """Somebody watches if a watcher lives or the last check is recent; without sessions there is nothing to watch."""
    assert store.watchers.watching().coverage(INTERVAL) is Coverage.NOTHING_TO_WATCH
    now = store.watchers.watching().as_of
    with store.database.write() as connection:
        insert = "INSERT INTO deployment_monitoring (tool_name, deployment_time) VALUES ('t', CURRENT_TIMESTAMP)"
        connection.execute(sa.text(insert))
    if checked is not None:
        _check_at(store, now - checked)
    if watcher is not None:
        beat(store)
        make(store, "a", seen_at=now - watcher)
    watching = store.watchers.watching()
    assert (watching.active, watching.coverage(INTERVAL)) == (1, expected)


def _check_at(store: ExecutionStore, moment: datetime) -> None:
    from rollguard.store.schema import deployment_health_checks as checks

    with store.database.write() as connection:
        connection.execute(sa.insert(checks).values(tool_name="t", checked_at=moment))
