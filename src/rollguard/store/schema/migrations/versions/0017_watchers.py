"""The table of watchers: a sign of life of each running loop."""

from alembic import op

from rollguard.store.schema.migrations.statements import run, statements

revision = "0017"
down_revision = "0013"


def upgrade() -> None:
    run(op.get_bind(), statements("0017_watchers", op.get_bind().dialect.name))
