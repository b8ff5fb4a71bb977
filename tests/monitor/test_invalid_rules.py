"""Rules that another program writes into a session: used if valid, and otherwise no other session's trouble."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rollguard import AutonomousLoop
from rollguard.errors import InvalidSetting
from rollguard.judge import Rules
from rollguard.loop.stages import ArrivalsStage
from rollguard.rollback import verify_all
from tests.conftest import NOW, Guard
from tests.contract.sql import ask

HOUR = timedelta(hours=1)
INVALID = {
    "not JSON": "rules: 'not JSON' is not JSON",
    "[" * 100_000: "is not JSON",
    "[]": "rules: '[]' is not a JSON object",
    '{"alpah": 0.1}': "alpah: unknown setting",
    '{"alpha": 7}': "alpha: 7 is not a number above 0 and below 0.5",
    '{"alpha": NaN}': "alpha: nan is not a number",
    '{"min_executions": "10"}': "min_executions: '10' is not a whole number",
    '{"caller_errors": "ValueError"}': "is not a list of error types",
    '{"baseline": "same_hours"}': "needs a baseline_window_days of 7 or more",
    '{"regression_threshold": 0.3}': "rules.regression_threshold: it has a column of its own",
}


def _write(guard: Guard, session_id: int, rules: str, days: int = 7) -> None:
    with guard.store.database.write() as connection:
        connection.execute(
            sa.text(
                "UPDATE deployment_monitoring SET rules = :rules, baseline_window_days = :days WHERE session_id = :id"
            ),
            {"rules": rules, "days": days, "id": session_id},
        )


def _two_sessions(guard: Guard) -> tuple[int, int]:
    for tool in ("bad", "good"):
        guard.deploy(1, tool=tool)
        guard.calls(20, 0, start=NOW - HOUR, tool=tool)
        guard.calls(20, 0, start=NOW, tool=tool)
    return guard.watch(tool="bad"), guard.watch(tool="good")


@pytest.mark.parametrize(("rules", "says"), INVALID.items(), ids=range(len(INVALID)))
def test_invalid_rules_stop_their_own_session_alone(guard: Guard, rules: str, says: str) -> None:
    """The session's check is recorded as failed and says why; all else goes on, and a corrected row is checked."""
    bad, good = _two_sessions(guard)
    _write(guard, bad, rules, days=1)
    now = NOW + HOUR
    loop = AutonomousLoop(guard.monitor)
    cycle = asyncio.run(loop.check_deployment_health(now=now))
    assert (cycle["checks"], cycle["errors"]) == (1, 1)
    (failed,), (made,) = guard.store.sessions.checks(bad), guard.store.sessions.checks(good)
    assert (failed["verdict"], made["verdict"]) == ("error", "healthy")
    (reason,) = failed["reasons"]
    assert reason.startswith(f"InvalidSetting: session {bad}: ")
    assert says in reason
    assert f"rollguard cancel {bad}" in reason
    assert list(ArrivalsStage(guard.monitor).check(["bad"], now)) == []
    with pytest.raises(InvalidSetting, match=f"session {bad}"):
        guard.monitor.check_health("bad", bad, now=now)
    assert guard.monitor.explain(bad)["decision"]["verdict"] == "error"
    _write(guard, bad, "{}")
    assert guard.monitor.check_health("bad", bad, now=now)["verdict"] == "healthy"
    _write(guard, bad, rules, days=1)
    assert guard.monitor.cancel_monitoring(bad, now=now).status == "cancelled"


def test_many_are_checked_beside_one_that_cannot_be(guard: Guard) -> None:
    """Whichever of many sessions it is, each of the others is checked."""
    ids = [guard.watch(tool=f"t{number}") for number in range(9)]
    for bad in (0, 4, 8):
        _write(guard, ids[bad], "")
        sessions = guard.monitor.get_active_sessions()
        results = guard.monitor.session_checks.run(sessions, NOW + HOUR, scheduled=True)
        assert [isinstance(result, Exception) for result in results] == [number == bad for number in range(9)]
        _write(guard, ids[bad], "{}")


def test_what_another_program_leaves_out_is_the_default(guard: Guard, url: str) -> None:
    """Rules that are left out have their defaults; those that are there are what the session is judged by."""
    session_id = guard.watch()
    stored = ask(url, "SELECT rules FROM deployment_monitoring")[0]["rules"]
    of_the_contract = {"monitoring_window_hours", "baseline_window_days", "regression_threshold"}
    assert set(json.loads(stored)) == set(Rules().to_dict()) - of_the_contract
    _write(guard, session_id, '{"caller_errors": ["KeyError"], "hold_on_external": false}')
    session = guard.session(session_id)
    assert session.rules == Rules(caller_errors=("KeyError",), hold_on_external=False)
    assert session.invalid_rules is None


def test_a_rollback_of_invalid_rules_stays_unproven(guard: Guard) -> None:
    """Whether a rollback helped is not judged by rules that nobody wrote, and that is said."""
    guard.deploy(1, at=NOW - HOUR)
    guard.calls(20, 0, start=NOW - HOUR, hours=0.9)
    guard.deploy(2)
    session_id = guard.watch()
    guard.calls(0, 20, start=NOW, hours=0.5)
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + HOUR)["rollback_performed"]
    guard.calls(20, 0, start=NOW + HOUR, hours=0.5)
    _write(guard, session_id, "{")
    ((rollback_id, success),) = verify_all(guard.store, NOW + 2 * HOUR)
    assert success is None
    note = next(r for r in guard.store.rollbacks.recent() if r.rollback_id == rollback_id).verification_note
    assert note is not None
    assert "unproven: the session's stored rules are invalid" in note
