"""Which deployments are edits of a file in the folder, and when the saves began that they belong to."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0023"
down_revision = "0021"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0023_edits", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "tool_deployments")
