"""The whole schema, as whole statements: in the file of this name for each database."""

from alembic import op

from rollguard.store.schema.migrations.statements import run, statements

revision = "0013"
down_revision = None


def upgrade() -> None:
    run(op.get_bind(), statements("0013_baseline", op.get_bind().dialect.name))
