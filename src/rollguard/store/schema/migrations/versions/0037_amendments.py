"""How often the executions of a rollup were amended."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0037"
down_revision = "0035"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0037_amendments", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        for table in ("tool_execution_rollups", "tool_execution_deltas"):
            hold_types(connection, table)
