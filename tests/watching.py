"""What the loop's stages do, as single calls that return what was done."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from rollguard import DeploymentMonitor
from rollguard.loop.stages import ArrivalsStage, NotificationsStage
from rollguard.model.rollback import Rollback
from rollguard.monitor.actions import ActionTaken
from rollguard.monitor.session_checks import moment_of
from rollguard.rollback import notice_quarantined_files, verify_all


def check_all(monitor: DeploymentMonitor, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """Check every active session, as a scheduled check, and deliver the notifications."""
    return _results(monitor, monitor.session_checks.run(monitor.get_active_sessions(), now), now)


def check_arrivals(monitor: DeploymentMonitor, tools: Collection[str], *, now: datetime) -> list[dict[str, Any]]:
    """Check the sessions of tools that were just executed, and deliver the notifications."""
    return _results(monitor, ArrivalsStage(monitor).check(tools, now), now)


def recover(monitor: DeploymentMonitor, *, now: datetime | None = None) -> list[Rollback]:
    """Finish what a crash left, and deliver the notifications; the rollbacks that came to an end."""
    ended = monitor.runner.recover(now)
    NotificationsStage(monitor.dispatcher).run(now)
    return ended


def follow_up(monitor: DeploymentMonitor, *, now: datetime) -> list[tuple[int, bool | None]]:
    """Verify rollbacks and find quarantined files, and deliver the notifications; as `verify_all`."""
    answered = verify_all(monitor.store, moment_of(now))
    notice_quarantined_files(monitor.store, monitor.registry, moment_of(now))
    NotificationsStage(monitor.dispatcher).run(now)
    return answered


def _results(
    monitor: DeploymentMonitor, taken: Iterable[ActionTaken | Exception], now: datetime | None
) -> list[dict[str, Any]]:
    results = []
    for each in taken:
        if isinstance(each, Exception):
            raise each
        results.append(each.to_dict())
    NotificationsStage(monitor.dispatcher).run(now)
    return results
