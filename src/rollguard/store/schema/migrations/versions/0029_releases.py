"""Releases: one or several tools that go live together under a label, and are rolled back as one."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0029"
down_revision = "0027"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0029_releases", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        for table in (
            *("releases", "release_tools"),
            *("tool_deployments", "deployment_monitoring", "deployment_rollbacks"),
        ):
            hold_types(connection, table)
