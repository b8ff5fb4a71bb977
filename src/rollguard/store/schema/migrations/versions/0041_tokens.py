"""Tokens of the service."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0041"
down_revision = "0039"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0041_tokens", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "service_tokens")
