"""Rollups: executions counted per tool, version, minute and hour, exact however the executions arrive.

On PostgreSQL a trigger notes what each statement inserted; the notes are only ever added, so writers never wait for
each other, and are folded into the rollups now and then. On SQLite, where ids are given in the order of commits, what
lies beyond the last id that was rolled up is rolled up in the same way.
"""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.histograms import BUCKET_POSTGRESQL
from rollguard.store.database.types import JsonText, UTCDateTime

revision = "0004"
down_revision = "0003"

DELTAS = f"""
INSERT INTO tool_execution_deltas (tool_name, version_number, minute, bucket, executions, successes, duration_sum_ms)
SELECT
    x.tool_name,
    COALESCE(x.version_number, 0),
    date_trunc('minute', x.executed_at, 'UTC'),
    {BUCKET_POSTGRESQL},
    COUNT(*),
    COUNT(*) FILTER (WHERE x.success),
    COALESCE(SUM(x.duration_ms), 0)
FROM {{arrived}} x
GROUP BY 1, 2, 3, 4
"""

TRIGGER = f"""
CREATE FUNCTION rollguard_note_executions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {DELTAS.format(arrived="arrived")};
    RETURN NULL;
END
$$;
CREATE TRIGGER tool_executions_rollup AFTER INSERT ON tool_executions
REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION rollguard_note_executions();
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "tool_execution_rollups",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("width", sa.Integer, nullable=False, comment="seconds: 60 or 3600"),
        sa.Column("start_at", UTCDateTime, nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False, comment="0 where none was named"),
        sa.Column("bucket", sa.Integer, nullable=False, comment="of the duration; -1 without one"),
        *_counts(),
        sa.PrimaryKeyConstraint(
            "tool_name", "width", "start_at", "version_number", "bucket", name="pk_tool_execution_rollups"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tool_execution_deltas",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("minute", UTCDateTime, nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        *_counts(),
        comment="counted and not yet folded into the rollups",
    )
    op.create_table(
        "rollup_state",
        sa.Column("only_row", sa.Integer, nullable=False),
        sa.Column("rolled_to", sa.BigInteger, nullable=False, comment="SQLite: the last id that was rolled up"),
        sa.PrimaryKeyConstraint("only_row", name="pk_rollup_state"),
        sa.CheckConstraint("only_row = 1", name="ck_rollup_state_only_row"),
    )
    op.execute("INSERT INTO rollup_state (only_row, rolled_to) VALUES (1, 0)")
    if postgresql:
        op.execute(DELTAS.format(arrived="tool_executions"))
        op.execute(TRIGGER)
    op.add_column(
        "deployment_monitoring",
        sa.Column("baseline", JsonText, comment="JSON: the baseline's counts, once they no longer change"),
    )


def _counts() -> tuple[sa.Column[int], sa.Column[int], sa.Column[float]]:
    return (
        sa.Column("executions", sa.BigInteger, nullable=False),
        sa.Column("successes", sa.BigInteger, nullable=False),
        sa.Column("duration_sum_ms", sa.Float, nullable=False),
    )
