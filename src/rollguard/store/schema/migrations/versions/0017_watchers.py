"""The table of watchers: a sign of life of each running loop."""

from alembic import op

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0017"
down_revision = "0015"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0017_watchers", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "watchers")
