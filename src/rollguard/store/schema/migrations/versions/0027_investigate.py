"""Where a call failed, and what was found out about it."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0027"
down_revision = "0025"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0027_investigate", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "investigation_reports")
