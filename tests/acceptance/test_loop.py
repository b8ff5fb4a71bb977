"""The autonomous loop's workflow: deploy, watch, check, roll back or complete."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollguard import AutonomousLoop, Rollguard, Settings
from tests.acceptance.helpers import TEN_AM, WEEK, after, baseline, current, deploy_at_ten
from tests.conftest import Guard, code


def _two_tools(guard: Guard) -> tuple[int, int]:
    """Both deployed at 10:00 AM; `my_tool` regresses by 18 points, `other_tool` stays as it was."""
    bad = deploy_at_ten(guard)
    guard.deploy(1, tool="other_tool", at=TEN_AM - WEEK)
    guard.deploy(2, tool="other_tool", at=TEN_AM)
    good = guard.watch(tool="other_tool", at=TEN_AM)
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=6)
    guard.calls(90, 10, start=TEN_AM - WEEK, hours=168, tool="other_tool")
    guard.calls(18, 2, start=TEN_AM, hours=6, tool="other_tool")
    return bad, good


async def test_workflow_of_the_loop(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """A cycle rolls back what regressed and goes on watching the rest, which completes when its window is over."""
    bad, good = _two_tools(guard)
    loop = AutonomousLoop(guard.monitor)
    with caplog.at_level(logging.WARNING):
        cycle = await loop.check_deployment_health(now=after(6))
    assert (cycle["checks"], cycle["rollbacks_triggered"], cycle["sessions_completed"]) == (2, 1, 0)
    assert loop.stats["rollbacks_triggered"] == 1
    assert [guard.session(number).status for number in (bad, good)] == ["rolled_back", "active"]
    assert (guard.registry.call("my_tool"), guard.registry.call("other_tool")) == (1, 2)
    assert any("AUTO-ROLLBACK: my_tool" in message for message in caplog.messages)

    cycle = await loop.check_deployment_health(now=after(24))
    assert (cycle["checks"], cycle["rollbacks_triggered"], cycle["sessions_completed"]) == (1, 0, 1)
    assert (guard.session(good).status, guard.session(good).outcome) == ("completed", "healthy")
    assert (loop.stats["cycles"], loop.stats["checks"], loop.stats["rollbacks_triggered"]) == (2, 3, 1)
    assert guard.monitor.get_active_sessions() == []


async def test_nothing_to_watch_is_a_quiet_cycle(guard: Guard) -> None:
    """Without active sessions a cycle checks nothing and counts itself."""
    loop = AutonomousLoop(guard.monitor)
    cycle = await loop.check_deployment_health(now=TEN_AM)
    assert set(cycle.values()) == {0}
    assert loop.stats["cycles"] == 1


async def test_a_check_every_5_minutes_rolls_back_at_the_first_that_can_know(guard: Guard) -> None:
    """Checked every 5 minutes, a broken version is rolled back at the first check with 10 executions."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 0, 12, hours=1)  # one call every 5 minutes from 10:00 on, all of them fail
    loop = AutonomousLoop(guard.monitor)
    checks = 0
    while guard.session(session_id).status == "active" and checks < 12:
        checks += 1
        await loop.check_deployment_health(now=TEN_AM + timedelta(minutes=5 * checks, seconds=-1))
    assert guard.session(session_id).completed_at == TEN_AM + timedelta(minutes=50, seconds=-1)
    assert (loop.stats["rollbacks_triggered"], loop.stats["checks"]) == (1, 10)


async def test_a_rollback_that_cannot_be_made_is_counted_apart(guard: Guard) -> None:
    """A needed rollback that was not performed is not counted as triggered."""
    guard.deploy(1, at=TEN_AM)
    guard.watch(at=TEN_AM)
    baseline(guard, 90, 10)
    current(guard, 10, 10, hours=2)
    loop = AutonomousLoop(guard.monitor)
    cycle = await loop.check_deployment_health(now=after(2))
    assert (cycle["rollbacks_triggered"], cycle["rollbacks_failed"]) == (0, 1)


async def test_a_deployment_is_watched_from_its_first_moment(url: str, tmp_path: Path) -> None:
    """Deployed through Rollguard, a version is under watch at once, and the loop rolls it back when it is worse."""
    now = datetime.now(UTC)
    with Rollguard(Settings(database=url, tools_dir=tmp_path / "tools")) as rollguard:
        rollguard.deploy("my_tool", code(1), deployed_at=now - timedelta(days=7))
        deployed = rollguard.deploy("my_tool", code(2), reason="an improvement", deployed_at=now - timedelta(hours=6))
        (session,) = rollguard.monitor.get_active_sessions()
        assert (session.session_id, session.version_number) == (deployed.session_id, 2)
        assert session.deployment_time == now - timedelta(hours=6)
        story = Guard(rollguard.store, rollguard.registry, rollguard.monitor)
        story.calls(90, 10, start=now - timedelta(days=6), hours=100)
        story.calls(18, 7, start=now - timedelta(hours=6), hours=5)
        cycle = await rollguard.loop.check_deployment_health(now=now)
        assert cycle["rollbacks_triggered"] == 1
        assert rollguard.registry.call("my_tool") == 1
