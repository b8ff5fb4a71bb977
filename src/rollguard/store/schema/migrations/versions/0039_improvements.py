"""The autonomous loop: attempts to improve tools, their events, and counters."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0039"
down_revision = "0037"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0039_improvements", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        for table in ("improvement_attempts", "improvement_events", "loop_statistics"):
            hold_types(connection, table)
