"""Calls in flight, since when hangs are recorded, and a view without what is neither success nor failure."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0021"
down_revision = "0019"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0021_hangs", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        for table in ("deployment_health_checks", "calls_in_flight", "failure_definitions"):
            hold_types(connection, table)
