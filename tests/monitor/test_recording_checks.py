"""Checks and what they report are recorded with a few statements, in one transaction."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rollguard.errors import StoreUnavailable
from rollguard.loop.stages import HealthStage
from rollguard.monitor.session_checks import no_collections
from tests.conftest import NOW, Guard

LATER = NOW + timedelta(hours=2)


def _slower(guard: Guard, count: int) -> list[int]:
    """Sessions of tools that became much slower, which is reported and not acted upon."""
    sessions = []
    for number in range(count):
        tool = f"tool_{number}"
        guard.deploy(1, tool=tool, at=NOW - timedelta(days=7))
        guard.deploy(2, tool=tool, at=NOW)
        guard.calls(20, 0, start=NOW - timedelta(days=1), tool=tool, ms=10.0)
        guard.calls(20, 0, start=NOW, tool=tool, ms=100.0)
        sessions.append(guard.watch(tool=tool, at=NOW))
    return sessions


@contextlib.contextmanager
def _statements(guard: Guard) -> Iterator[list[str]]:
    """Every statement that the store sends meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement.split(maxsplit=1)[0].upper())

    sa.event.listen(guard.store.database._engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(guard.store.database._engine, "before_cursor_execute", note)


def test_what_many_checks_report_is_written_with_them(guard: Guard) -> None:
    """The statements of a cycle are no more for twelve sessions with something to report than for three."""
    counts = []
    for number in (3, 12):
        _slower(guard, number)
        guard.store.fold()
        with _statements(guard) as sent:
            assert HealthStage(guard.monitor).run(LATER)["checks"] == number
        assert guard.store.outbox.undelivered() == number
        for pending in guard.store.outbox.take_due(LATER):
            guard.store.outbox.delivered(pending.notification_id, [], LATER)
        counts.append(len(sent))
    assert counts[1] <= counts[0]


def test_checks_at_once_report_it_once(guard: Guard) -> None:
    """However many watchers check a session at once, people are notified once of what begins."""
    sessions = _slower(guard, 5)
    with ThreadPoolExecutor(4) as pool:
        for counts in pool.map(lambda _: HealthStage(guard.monitor).run(LATER), range(4)):
            assert (counts["checks"], counts["errors"]) == (5, 0)
    assert guard.store.outbox.undelivered() == 5
    assert [len(guard.store.sessions.checks(session_id)) for session_id in sessions] == [4] * 5


def test_nothing_is_reported_without_its_check(guard: Guard) -> None:
    """Where the checks cannot be recorded nobody is notified either, and the next cycle does both."""
    (session_id,) = _slower(guard, 1)
    with guard.store.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE notifications RENAME TO away"))
    with contextlib.suppress(StoreUnavailable):
        assert HealthStage(guard.monitor).run(LATER)["errors"] == 1
    with guard.store.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO notifications"))
    assert {check["verdict"] for check in guard.store.sessions.checks(session_id)} <= {"error"}
    assert HealthStage(guard.monitor).run(LATER)["errors"] == 0
    assert guard.store.outbox.undelivered() == 1


@pytest.mark.parametrize("active", [True, False])
def test_a_check_of_a_session_that_is_over_writes_nothing(guard: Guard, active: bool) -> None:
    """`check_health` records the check of an active session; of one that is over it only reads."""
    (session_id,) = _slower(guard, 1)
    if not active:
        guard.monitor.cancel_monitoring(session_id, now=LATER)
    with _statements(guard) as sent:
        report = guard.monitor.check_health("tool_0", session_id, now=LATER)
    assert report["comparison"]["performance_degradation"]
    assert ({"INSERT", "UPDATE", "DELETE"} & set(sent) != set()) is active
    assert len(guard.store.sessions.checks(session_id)) == active


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_while_a_batch_is_checked(enabled: bool) -> None:
    """The collector is off meanwhile, and afterwards, also after an error, as the program had it."""
    try:
        if not enabled:
            gc.disable()
        with contextlib.suppress(StoreUnavailable), no_collections():
            assert not gc.isenabled()
            raise StoreUnavailable("away")
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_checks_of_many_sessions_are_stored_as_those_of_each_alone(guard: Guard) -> None:
    """Many rows are written at once, in the fastest way of each database: no value differs."""
    sessions = []
    for number in range(12):
        tool = f"tool_{number}"
        guard.deploy(1, tool=tool, at=NOW - timedelta(days=3))
        guard.calls(20 + number, number % 3, start=NOW - timedelta(hours=20), hours=10, tool=tool, ms=10.0 + number / 3)
        guard.deploy(2, tool=tool, at=NOW)
        guard.calls(12, 3 * (number % 2), start=NOW, tool=tool)
        sessions.append(guard.watch(tool=tool, at=NOW))
    now = NOW + timedelta(hours=2)
    for session_id in sessions:
        guard.monitor.check_health(f"tool_{session_id - sessions[0]}", session_id, now=now)
    found = list(guard.monitor.session_checks.run(guard.monitor.get_active_sessions(), now))
    assert len(found) == 12
    for session_id in sessions:
        together, alone = guard.store.sessions.checks(session_id)
        assert {**together, "check_id": 0} == {**alone, "check_id": 0}
