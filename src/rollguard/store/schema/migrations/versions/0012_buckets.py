"""The bucket of a duration as a function of the database, as it is on SQLite in every connection of ours.

A statement that counts had all the edges in it, four times, and was read anew at every check.
"""

from alembic import op

from rollguard.store.database.histograms import BUCKET_FUNCTION

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(BUCKET_FUNCTION)
