"""What rehearsals found, and views of it."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0031"
down_revision = "0029"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0031_rehearsals", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        for table in ("shadow_test_results", "replay_test_results"):
            hold_types(connection, table)
