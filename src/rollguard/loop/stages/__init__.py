"""The loop's stages, one file each; `default_stages` is the list that `AutonomousLoop` runs."""

from __future__ import annotations

from datetime import timedelta

from rollguard.loop.stages.arrivals import ArrivalsStage
from rollguard.loop.stages.edits import EditsStage
from rollguard.loop.stages.health import HealthStage
from rollguard.loop.stages.heartbeat import HeartbeatStage
from rollguard.loop.stages.maintenance import MaintenanceStage
from rollguard.loop.stages.notifications import NotificationsStage
from rollguard.loop.stages.quarantine import QuarantineStage
from rollguard.loop.stages.recovery import RecoveryStage
from rollguard.loop.stages.retention import RetentionStage
from rollguard.loop.stages.rollouts import RolloutsStage
from rollguard.loop.stages.stage import ResidentStage, Stage
from rollguard.loop.stages.verification import VerificationStage
from rollguard.monitor.deployment_monitor import DeploymentMonitor

__all__ = [
    "ArrivalsStage",
    "EditsStage",
    "HealthStage",
    "HeartbeatStage",
    "MaintenanceStage",
    "NotificationsStage",
    "QuarantineStage",
    "RecoveryStage",
    "ResidentStage",
    "RetentionStage",
    "RolloutsStage",
    "Stage",
    "VerificationStage",
    "default_stages",
]

_LEASE = 1.5  # intervals that a watcher keeps a session, so that it can renew it even after a long cycle


def default_stages(monitor: DeploymentMonitor, check_interval_seconds: float) -> list[Stage]:
    """Return the stages in the order in which a single cycle runs them.

    Args:
        monitor: makes the checks and the rollbacks.
        check_interval_seconds: time between the starts of two runs of the health stage.
    """
    health = HealthStage(monitor, lease=timedelta(seconds=_LEASE * check_interval_seconds))
    return [
        RecoveryStage(monitor.runner),
        EditsStage(monitor),
        health,
        ArrivalsStage(monitor),
        RolloutsStage(monitor),
        VerificationStage(monitor.store),
        QuarantineStage(monitor.store, monitor.registry),
        HeartbeatStage(monitor.store, health, check_interval_seconds),
        NotificationsStage(monitor.dispatcher),
        RetentionStage(monitor.store),
    ]
