"""The callers' own tags of executions."""

from alembic import op

from rollguard.store.schema.migrations.statements import run, statements

revision = "0025"
down_revision = "0023"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0025_tags", connection.dialect.name))
