"""Sessions keep what their baseline does not count, and the counts of earlier good versions."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0019"
down_revision = "0017"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0019_left_out", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "deployment_monitoring")
