"""Calls in flight, since when hangs are recorded, and a view without what is neither success nor failure."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0021"
down_revision = "0017"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0021_hangs", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "calls_in_flight")
        hold_types(connection, "failure_definitions")
