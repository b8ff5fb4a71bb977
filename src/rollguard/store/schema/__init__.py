"""The tables as this version of the code knows them. Migrations make them; a test holds the two together.

Times are UTC. What the contract names stands under its own name; the rest is what this code needs beside it.
"""

from __future__ import annotations

from rollguard.store.schema.base import ONLY_ON, metadata, utc_now
from rollguard.store.schema.executions import execution_keys, request_arrivals, superseded_executions, tool_executions
from rollguard.store.schema.rollups import (
    rollup_state,
    tool_execution_deltas,
    tool_execution_rollups,
    tool_version_starts,
)
from rollguard.store.schema.versions import quarantined_code, tool_actuations, tool_deployments, tool_versions
from rollguard.store.schema.watching import (
    deployment_health_checks,
    deployment_monitoring,
    deployment_rollbacks,
    notifications,
)

__all__ = [
    "ONLY_ON",
    "deployment_health_checks",
    "deployment_monitoring",
    "deployment_rollbacks",
    "execution_keys",
    "metadata",
    "notifications",
    "quarantined_code",
    "request_arrivals",
    "rollup_state",
    "superseded_executions",
    "tool_actuations",
    "tool_deployments",
    "tool_execution_deltas",
    "tool_execution_rollups",
    "tool_executions",
    "tool_version_starts",
    "tool_versions",
    "utc_now",
]
