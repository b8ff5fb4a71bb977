"""What ends when another version goes live: its session, a rollback and a rollout under way."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import DeploymentConflict
from rollguard.model.ramp import State
from rollguard.model.rollout import Rollout
from rollguard.model.version import Deployment
from rollguard.store import rollback_states, rollout_states
from rollguard.store.schema import deployment_monitoring, deployment_rollbacks


def promote(connection: Connection, rollout: Rollout, after: Deployment) -> None:
    """End a rollout whose new version is live now. It calls off a rollback that is decided and not over."""
    ramp = rollout.ramp.ended_by(State.PROMOTED, after.deployed_at)
    by, at = after.deployed_by, after.deployed_at
    if rollout_states.move(connection, rollout, ramp, by=by, at=at, why=after.reason) is None:
        raise DeploymentConflict(f"{rollout.tool_name}: its rollout was changed at this moment; look at it again")
    rollback_states.overtake(
        connection,
        deployment_rollbacks.c.tool_name == rollout.tool_name,
        at=after.deployed_at,
        error=f"{after.deployed_by} promoted version {after.version_number} first",
    )


def supersede(connection: Connection, tool_name: str, deployment: Deployment, at: datetime) -> None:
    """Close what belongs to the version that is no longer live: its session, a rollback and a rollout under way."""
    m, r = deployment_monitoring, deployment_rollbacks
    why = f"{deployment.deployed_by} deployed version {deployment.version_number} first"
    rollout_states.end_of_tool(connection, tool_name, at=at, by=deployment.deployed_by, why=why)
    connection.execute(
        sa.update(m)
        .where(m.c.tool_name == tool_name, m.c.status == "active")
        .values(
            status="superseded",
            completed_at=sa.case((m.c.monitoring_started_at > at, m.c.monitoring_started_at), else_=at),
            notes=f"version {deployment.version_number} was deployed by {deployment.deployed_by}"
            if deployment.edit_began_at is None
            else f"version {deployment.version_number} was saved in the folder",
        )
    )
    rollback_states.overtake(
        connection,
        r.c.tool_name == tool_name,
        at=at,
        error=why,
    )
