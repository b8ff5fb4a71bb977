"""The loop: every active session is looked after, whatever happens to one of them, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollguard import AutonomousLoop, DeploymentMonitor
from rollguard.errors import InvalidSetting, StoreUnavailable
from rollguard.model.session import Session
from rollguard.monitor.actions import Actions, ActionTaken
from rollguard.monitor.checker import Checker
from rollguard.monitor.confirmations import Confirmations
from rollguard.monitor.report import HealthReport
from rollguard.monitor.session_checks import SessionChecks
from tests.conftest import NOW, Guard

LATER = NOW + timedelta(hours=2)


def _watched(guard: Guard, tool: str, successes: int, failures: int) -> int:
    for version in (1, 2):
        guard.deploy(version, tool=tool, at=NOW - timedelta(days=2 - version))
    guard.calls(19, 1, start=NOW - timedelta(days=3), tool=tool)
    guard.calls(successes, failures, start=NOW, tool=tool)
    return guard.watch(tool=tool, at=NOW)


async def test_one_cycle_looks_after_every_session(guard: Guard) -> None:
    """A cycle checks all active sessions, rolls back the worse, and counts what it did."""
    good, bad = _watched(guard, "good", 20, 1), _watched(guard, "bad", 10, 10)
    loop = AutonomousLoop(guard.monitor)
    cycle = await loop.check_deployment_health(now=LATER)
    assert cycle == {
        "checks": 2,
        "rollbacks_triggered": 1,
        "rollbacks_failed": 0,
        "sessions_completed": 0,
        "errors": 0,
    }
    assert (guard.session(good).status, guard.session(bad).status) == ("active", "rolled_back")
    assert (await loop.check_deployment_health(now=NOW + timedelta(hours=24)))["sessions_completed"] == 1
    assert loop.stats == {
        "cycles": 2,
        "checks": 3,
        "rollbacks_triggered": 1,
        "rollbacks_failed": 0,
        "sessions_completed": 1,
        "errors": 0,
        "arrival_checks": 0,
    }


class OneFails(Checker):
    """A checker to which one tool's session is a fault."""

    def check(self, sessions: Sequence[Session], now: datetime, *, scheduled: bool = True) -> list[HealthReport]:
        if any(session.tool_name == "broken" for session in sessions):
            raise RuntimeError("boom")
        return super().check(sessions, now, scheduled=scheduled)


class OneIsNotActedUpon(Actions):
    """What follows from a check; for one tool's session it is a fault."""

    def take(self, report: HealthReport, now: datetime) -> ActionTaken:
        if report.session.tool_name == "broken":
            raise RuntimeError("boom")
        return super().take(report, now)


class OneSessionFails(DeploymentMonitor):
    """A monitor to which one tool's session is a fault, in its check or in what follows from it."""

    def __init__(self, *args: Any, fails_at: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        checker = OneFails if fails_at == "check" else Checker
        actions = OneIsNotActedUpon if fails_at == "act" else Actions
        confirmations = Confirmations(self.store, self.registry)
        self.session_checks = SessionChecks(
            self.store,
            checker(self.store, self.registry.recorder, confirmations),
            actions(self.store, self.runner, self.rollouts, confirmations),
        )


@pytest.mark.parametrize("fails_at", ["check", "act"])
async def test_one_sessions_failure_does_not_stop_the_others(guard: Guard, fails_at: str) -> None:
    """A check that fails is recorded as an error with its reason, the others are made, and it is tried again."""
    broken, bad = _watched(guard, "broken", 20, 1), _watched(guard, "bad", 10, 10)
    monitor = OneSessionFails(execution_store=guard.store, tool_registry=guard.registry, fails_at=fails_at)
    cycle = await AutonomousLoop(monitor).check_deployment_health(now=LATER)
    assert (cycle["errors"], cycle["checks"], cycle["rollbacks_triggered"]) == (1, 1, 1)
    assert guard.session(bad).status == "rolled_back"
    check = guard.store.sessions.checks(broken)[0]
    assert (check["verdict"], check["needs_rollback"], check["reasons"]) == ("error", False, ["RuntimeError: boom"])
    assert guard.session(broken).active
    assert (await AutonomousLoop(guard.monitor).check_deployment_health(now=LATER))["errors"] == 0


async def test_a_rollback_that_another_watcher_makes_is_no_failure(guard: Guard) -> None:
    """Loops that find the same regression at once count one rollback and no failure."""
    _watched(guard, "bad", 10, 10)
    loops = [AutonomousLoop(guard.monitor) for _ in range(4)]
    cycles = await asyncio.gather(*(loop.check_deployment_health(now=LATER) for loop in loops))
    assert sum(cycle["rollbacks_triggered"] for cycle in cycles) == 1
    assert [(cycle["rollbacks_failed"], cycle["errors"]) for cycle in cycles] == [(0, 0)] * 4


async def test_a_needed_rollback_that_fails_is_counted(guard: Guard) -> None:
    """A regression without an earlier version counts as a failed rollback."""
    guard.deploy(1)
    guard.calls(19, 1, start=NOW - timedelta(days=1))
    guard.calls(10, 10, start=NOW)
    guard.watch()
    cycle = await AutonomousLoop(guard.monitor).check_deployment_health(now=LATER)
    assert (cycle["rollbacks_triggered"], cycle["rollbacks_failed"]) == (0, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_stop_it_after_the_checks_under_way(guard: Guard, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the loop cleanly, and the handlers that were there before are back."""
    loop = AutonomousLoop(guard.monitor)
    before = signal.getsignal(number)
    running = asyncio.create_task(loop.run())
    while loop.stats["cycles"] == 0:
        await asyncio.sleep(0)
    os.kill(os.getpid(), number)
    await running
    assert loop.stats["cycles"] == 1
    assert signal.getsignal(number) == before


async def test_stop_ends_it(guard: Guard) -> None:
    """`stop` ends `run`, and it can run again."""
    loop = AutonomousLoop(guard.monitor)
    for runs in (1, 2):
        running = asyncio.create_task(loop.run(handle_signals=False))
        while loop.stats["cycles"] < runs:
            await asyncio.sleep(0)
        loop.stop()
        await running


async def test_a_stop_before_the_start_is_kept(guard: Guard) -> None:
    """A loop that is told to stop before it runs does not begin; the next run does."""
    loop = AutonomousLoop(guard.monitor)
    loop.stop()
    await loop.run(handle_signals=False)
    assert loop.stats["cycles"] == 0


class Away(DeploymentMonitor):
    """A monitor whose database is away for the first cycles; it stops the loop once it is back."""

    def __init__(self, *args: object, away: int, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.away = away

    def get_active_sessions(self) -> list[object]:
        self.away -= 1
        if self.away >= 0:
            raise StoreUnavailable("away")
        return super().get_active_sessions()


async def test_one_cycle_says_when_the_database_is_away(guard: Guard) -> None:
    """A cycle in somebody else's loop raises when not even the sessions can be read."""
    loop = AutonomousLoop(Away(execution_store=guard.store, tool_registry=guard.registry, away=1))
    with pytest.raises(StoreUnavailable):
        await loop.check_deployment_health(now=LATER)
    assert (await loop.check_deployment_health(now=LATER))["errors"] == 0


@pytest.mark.parametrize("setting", [{"check_interval_seconds": 0.5}, {"check_interval_seconds": True}])
def test_impossible_settings_are_refused(guard: Guard, setting: dict[str, object]) -> None:
    """An interval out of its range is refused by name."""
    with pytest.raises(InvalidSetting, match=next(iter(setting))):
        AutonomousLoop(guard.monitor, **setting)
