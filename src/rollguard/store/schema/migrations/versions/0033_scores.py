"""Scores of answers, and histograms that count them."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0033"
down_revision = "0031"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0033_scores", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "superseded_executions")
