"""An execution that is rated later is amended: once, in time, and every count follows."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from rollguard import ExecutionStore
from rollguard.errors import AmendmentRefused, InvalidInput, InvalidSetting, UnknownExecution
from rollguard.store.rollups.selection import Selection
from tests.conftest import NOW, Guard

HOUR = timedelta(hours=1)


def _recorded(store: ExecutionStore, at: datetime = NOW, **fields: object) -> str:
    return store.store_tool_execution(tool_name="t", success=True, duration_ms=2.0, executed_at=at, **fields)


def _window(store: ExecutionStore) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    (window,) = store.executions.count([[Selection("t", NOW - HOUR, NOW + HOUR, repeated=True)]])
    return window.total, window.successes, window.scores


def test_a_wrong_answer_is_amended(store: ExecutionStore) -> None:
    """An amended execution fails with its reason and counts so, also if it was counted before."""
    ids = [_recorded(store, execution_id="own"), _recorded(store)]
    store.fold()
    assert _window(store) == (2, 2, ())
    for execution_id in ids:
        assert store.amend(execution_id, success=False, score=0.25, reason="WrongAnswerError: not a book", now=NOW)
        assert not store.amend(execution_id, success=False, score=0.25, reason="WrongAnswerError: not a book", now=NOW)
    assert _window(store) == (2, 0, ((50, 2),))
    (one, _) = store.listing.recent("t", failed=True)
    assert (one.success, one.score, one.error_type) == (False, 0.25, "WrongAnswerError")
    assert store.amend(ids[0], success=True, now=NOW)
    assert _window(store) == (2, 1, ((50, 2),))
    (one,) = [one for one in store.listing.recent("t") if one.execution_id == "own"]
    assert (one.success, one.error, one.error_type) == (True, None, None)


def test_a_reason_is_redacted_and_kept(store: ExecutionStore) -> None:
    """A reason is stored as every error is: without secrets. A failure amended without one keeps what it has."""
    execution_id = _recorded(store)
    store.amend(execution_id, success=False, reason="ValueError: password=hunter2", now=NOW)
    store.amend(execution_id, success=False, score=0, now=NOW)
    (one,) = store.listing.recent("t")
    assert one.error is not None
    assert "hunter2" not in one.error
    assert (one.error_type, one.score) == ("ValueError", 0.0)


def test_a_cached_hour_is_read_again(store: ExecutionStore) -> None:
    """A process that has counted the hour of a deployment counts an amendment that another one made since."""
    ids = [_recorded(store, NOW + timedelta(seconds=number)) for number in range(120)]
    store.fold()
    window = [Selection("t", NOW + timedelta(seconds=30), NOW + 3 * HOUR, repeated=True)]
    assert store.executions.count([window]) == store.executions.count([window])
    with ExecutionStore(store.database.url.render_as_string(hide_password=False)) as other:
        other.amend(ids[60], success=False, now=NOW)
    (counted,) = store.executions.count([window])
    assert (counted.total, counted.failures) == (90, 1)


def test_a_late_amendment_is_refused(store: ExecutionStore) -> None:
    """An execution may be amended for an hour after its end; later it is refused, unless it says what is stored."""
    execution_id = _recorded(store)
    end = NOW + timedelta(milliseconds=2)
    assert store.amend(execution_id, score=0.5, now=end + HOUR)
    assert not store.amend(execution_id, score=0.5, now=end + 2 * HOUR)
    with pytest.raises(AmendmentRefused, match="for 1:00:00 after its end"):
        store.amend(execution_id, score=0.6, now=end + HOUR + timedelta(microseconds=1))
    assert _window(store) == (1, 1, ((100, 1),))


def test_what_is_no_amendment(store: ExecutionStore) -> None:
    """An amendment names a stored execution and says something of it."""
    with pytest.raises(UnknownExecution, match="no stored execution 'x'"):
        store.amend("x", success=False)
    with pytest.raises(InvalidInput, match="at least one"):
        store.amend("x")
    with pytest.raises(InvalidInput, match="needs success=False"):
        store.amend("x", success=True, reason="why")
    with pytest.raises(InvalidInput, match="score: 2"):
        store.amend("x", score=2)
    with pytest.raises(InvalidSetting, match="amend_within_seconds"):
        ExecutionStore("sqlite:///:memory:", amend_within_seconds=1e9)


def test_an_amended_answer_is_judged(guard: Guard) -> None:
    """A check counts what was amended since the check before, and rolls back for it."""
    guard.deploy(1)
    guard.calls(50, 0, start=NOW)
    guard.deploy(2, at=NOW + HOUR)
    session_id = guard.watch(at=NOW + HOUR)
    ids = [
        guard.store.store_tool_execution(
            tool_name="my_tool", success=True, version_number=2, executed_at=NOW + HOUR + timedelta(seconds=number)
        )
        for number in range(20)
    ]
    checked_at = NOW + HOUR + timedelta(minutes=10)
    report = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=checked_at)
    assert report["verdict"] == "healthy"
    for execution_id in ids[:10]:
        guard.store.amend(execution_id, success=False, reason="wrong", now=checked_at)
    report = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=checked_at + timedelta(minutes=5))
    assert report["current"]["successes"] == 10
    assert report["rollback_performed"]
