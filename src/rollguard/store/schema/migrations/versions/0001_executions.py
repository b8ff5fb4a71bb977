"""Executions: one row a call of a tool, by Rollguard or inserted by any other program."""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.types import BigId, UTCDateTime
from rollguard.store.schema import utc_now

revision = "0001"
down_revision = None

# A row that another program inserts into SQLite may write its time in any form SQLite understands.
SQLITE_NORMALISE_TIME = """
CREATE TRIGGER tool_executions_time AFTER INSERT ON tool_executions
WHEN NEW.executed_at NOT GLOB
  '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
BEGIN
  SELECT RAISE(ABORT, 'executed_at must be a UTC time such as 2026-01-31 12:00:00')
    WHERE strftime('%s', NEW.executed_at) IS NULL;
  UPDATE tool_executions SET executed_at = strftime('%Y-%m-%d %H:%M:%f000', NEW.executed_at) WHERE id = NEW.id;
END
"""


def upgrade() -> None:
    op.create_table(
        "tool_executions",
        sa.Column("id", BigId, nullable=False),
        sa.Column(
            "execution_id",
            sa.String(255),
            comment="the caller's id of the call; a repeated one is stored once",
        ),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer, comment="the version that ran; NULL counts by time"),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("duration_ms", sa.Float),
        sa.Column("error_type", sa.String(255)),
        sa.Column("error", sa.Text),
        sa.Column("parameters", sa.Text, comment="JSON"),
        sa.Column("result", sa.Text, comment="JSON"),
        sa.Column(
            "executed_at",
            UTCDateTime,
            nullable=False,
            server_default=utc_now(),
            comment="when the call began",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tool_executions"),
        sa.UniqueConstraint("execution_id", name="uq_tool_executions_execution_id"),
        sa.CheckConstraint("duration_ms >= 0", name="ck_tool_executions_duration"),
    )
    op.create_index("ix_tool_executions_tool_name_executed_at", "tool_executions", ["tool_name", "executed_at"])
    if op.get_bind().dialect.name == "sqlite":
        op.execute(SQLITE_NORMALISE_TIME)
