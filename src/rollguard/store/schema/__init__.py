"""The tables of this version of the code. Migrations create them; a test compares the two.

Times are UTC. Tables and columns of the contract have its names.
"""

from __future__ import annotations

from rollguard.store.schema.base import ONLY_ON, metadata, utc_now
from rollguard.store.schema.executions import (
    calls_in_flight,
    execution_keys,
    failure_definitions,
    request_arrivals,
    superseded_executions,
    tool_executions,
)
from rollguard.store.schema.improvements import improvement_attempts, improvement_events, loop_statistics
from rollguard.store.schema.investigations import investigation_reports
from rollguard.store.schema.monitoring import (
    deployment_health_checks,
    deployment_monitoring,
    deployment_rollbacks,
    notifications,
    watchers,
)
from rollguard.store.schema.rehearsals import replay_test_results, shadow_test_results
from rollguard.store.schema.rollouts import rollouts
from rollguard.store.schema.rollups import (
    rollup_state,
    tool_execution_deltas,
    tool_execution_rollups,
    tool_version_starts,
)
from rollguard.store.schema.spans import otlp_spans
from rollguard.store.schema.tokens import service_tokens
from rollguard.store.schema.versions import (
    quarantined_code,
    release_tools,
    releases,
    tool_actuations,
    tool_deployments,
    tool_versions,
)

__all__ = [
    "ONLY_ON",
    "calls_in_flight",
    "deployment_health_checks",
    "deployment_monitoring",
    "deployment_rollbacks",
    "execution_keys",
    "failure_definitions",
    "improvement_attempts",
    "improvement_events",
    "investigation_reports",
    "loop_statistics",
    "metadata",
    "notifications",
    "otlp_spans",
    "quarantined_code",
    "release_tools",
    "releases",
    "replay_test_results",
    "request_arrivals",
    "rollouts",
    "rollup_state",
    "service_tokens",
    "shadow_test_results",
    "superseded_executions",
    "tool_actuations",
    "tool_deployments",
    "tool_execution_deltas",
    "tool_execution_rollups",
    "tool_executions",
    "tool_version_starts",
    "tool_versions",
    "utc_now",
    "watchers",
]
