"""On SQLite every column holds what it declares, as on PostgreSQL; what is there already stays as it is."""

from alembic import op
from sqlalchemy import inspect

from rollguard.store.schema.migrations.held_types import TABLES, hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    run(connection, statements("0015_held_types", "sqlite"))
    for table in TABLES:
        if inspect(connection).has_table(table):
            hold_types(connection, table)
