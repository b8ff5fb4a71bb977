"""Rollguard: post-deployment health monitoring with automatic rollback for the tools of AI agents."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollguard.app import Deployed, Rollguard
    from rollguard.errors import RollguardError
    from rollguard.investigate import Investigator
    from rollguard.loop.autonomous_loop import AutonomousLoop
    from rollguard.monitor.deployment_monitor import DeploymentMonitor
    from rollguard.record import request, tags
    from rollguard.record.decorator import tool
    from rollguard.registry import ToolRegistry
    from rollguard.settings import Settings
    from rollguard.store import ExecutionStore
    from rollguard.versions.version_manager import ToolVersionManager

__version__ = "0.1.0"

# Imported when first used, so that `rollguard --help` does not wait for a database library.
_HOMES = {
    "AutonomousLoop": "loop.autonomous_loop",
    "Deployed": "app",
    "DeploymentMonitor": "monitor.deployment_monitor",
    "ExecutionStore": "store",
    "Investigator": "investigate",
    "Rollguard": "app",
    "RollguardError": "errors",
    "Settings": "settings",
    "ToolRegistry": "registry",
    "ToolVersionManager": "versions.version_manager",
    "request": "record",
    "tags": "record",
    "tool": "record.decorator",
}

__all__ = [
    "AutonomousLoop",
    "Deployed",
    "DeploymentMonitor",
    "ExecutionStore",
    "Investigator",
    "Rollguard",
    "RollguardError",
    "Settings",
    "ToolRegistry",
    "ToolVersionManager",
    "request",
    "tags",
    "tool",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rollguard' has no attribute {name!r}")
    value = getattr(import_module(f"rollguard.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
