"""Rollouts: two versions of a tool serve at once, and each execution says which of them was drawn for it."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0035"
down_revision = "0033"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0035_rollouts", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        for table in ("rollouts", "calls_in_flight", "deployment_rollbacks"):
            hold_types(connection, table)
