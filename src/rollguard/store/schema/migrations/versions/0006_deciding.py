"""Deciding: more rules a session may be judged by, failures by their error's type, requests that were tried again.

Rollups count by the error's type as well, so that errors declared the caller's can be left out. Executions may name
the request they belong to; of those that share one, all but the last are listed as superseded, to be taken off the
counts. And for each version the first hour in which it ran is kept, so that counting it reads nothing before that.
"""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.histograms import BUCKET_POSTGRESQL
from rollguard.store.database.types import BigId, JsonText, UTCDateTime

revision = "0006"
down_revision = "0005"

# (column, type with default, allowed); the same words on both databases.
RULES = (
    ("decision", "VARCHAR(20) DEFAULT 'threshold' NOT NULL", "decision IN ('threshold', 'evidence')"),
    (
        "fast_triggers",
        "VARCHAR(20) DEFAULT 'with_evidence' NOT NULL",
        "fast_triggers IN ('with_evidence', 'alone', 'off')",
    ),
    ("rollback_on_slowdown", "BOOLEAN DEFAULT FALSE NOT NULL", "rollback_on_slowdown IN (FALSE, TRUE)"),
    ("hold_on_external", "BOOLEAN", "hold_on_external IN (FALSE, TRUE)"),
    ("caller_errors", "TEXT DEFAULT '[]' NOT NULL", "caller_errors LIKE '[%]'"),
    ("collapse_retries", "FLOAT DEFAULT 0 NOT NULL", "collapse_retries >= 0 AND collapse_retries <= 3600"),
    ("baseline_rule", "VARCHAR(20) DEFAULT 'before' NOT NULL", "baseline_rule IN ('before', 'same_hours')"),
    ("extend_until_sufficient", "INTEGER DEFAULT 0 NOT NULL", "extend_until_sufficient BETWEEN 0 AND 8760"),
)

NOTE = f"""
CREATE OR REPLACE FUNCTION rollguard_note_executions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tool_execution_deltas
        (tool_name, version_number, minute, bucket, error_type, executions, successes, duration_sum_ms)
    SELECT
        x.tool_name,
        COALESCE(x.version_number, 0),
        date_trunc('minute', x.executed_at, 'UTC'),
        {BUCKET_POSTGRESQL},
        CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END,
        COUNT(*),
        COUNT(*) FILTER (WHERE x.success),
        COALESCE(SUM(x.duration_ms), 0)
    FROM arrived x
    GROUP BY 1, 2, 3, 4, 5;
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT DISTINCT x.tool_name, x.request_id FROM arrived x WHERE x.request_id IS NOT NULL;
    PERFORM pg_notify('rollguard_executions', watched.tool_name)
    FROM (SELECT DISTINCT x.tool_name FROM arrived x) AS ran
    JOIN deployment_monitoring watched ON watched.tool_name = ran.tool_name AND watched.status = 'active';
    RETURN NULL;
END
$$;
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    for column, kind, allowed in RULES:
        name = f"ck_deployment_monitoring_{column}"
        op.execute(f"ALTER TABLE deployment_monitoring ADD COLUMN {column} {kind} CONSTRAINT {name} CHECK ({allowed})")
    op.add_column(
        "deployment_monitoring",
        sa.Column("baseline_notes", JsonText, comment="JSON list: what is mixed in the baseline"),
    )
    _requests(postgresql)
    _rollups_by_error(postgresql)
    _first_hours()
    if postgresql:
        op.execute(NOTE)


def _requests(postgresql: bool) -> None:
    op.add_column(
        "tool_executions",
        sa.Column("request_id", sa.String(255), comment="executions that share one count once, with the last outcome"),
    )
    named = sa.text("request_id IS NOT NULL")
    op.create_index(
        "ix_tool_executions_request_id",
        "tool_executions",
        ["tool_name", "request_id"],
        sqlite_where=named,
        postgresql_where=named,
    )
    op.create_index(
        "ix_tool_executions_failed",
        "tool_executions",
        ["tool_name", "executed_at"],
        sqlite_where=sa.text("success = 0"),
        postgresql_where=sa.text("NOT success"),
    )
    op.create_table(
        "superseded_executions",
        sa.Column("id", BigId, nullable=False, autoincrement=False, comment="of the row in tool_executions"),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("duration_ms", sa.Float),
        sa.Column("error_type", sa.String(255)),
        sa.Column("executed_at", UTCDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_superseded_executions"),
        comment="executions whose request was tried again later: counted in the rollups, and taken off the counts",
    )
    op.create_index("ix_superseded_executions_tool_name", "superseded_executions", ["tool_name", "executed_at"])
    if postgresql:
        op.create_table(
            "request_arrivals",
            sa.Column("tool_name", sa.String(255), nullable=False),
            sa.Column("request_id", sa.String(255), nullable=False),
            comment="requests whose executions arrived and were not looked through yet",
        )


def _rollups_by_error(postgresql: bool) -> None:
    by_error = "error_type VARCHAR(255) DEFAULT '' NOT NULL"
    op.execute(f"ALTER TABLE tool_execution_deltas ADD COLUMN {by_error}")
    key = ("tool_name", "width", "start_at", "version_number", "bucket", "error_type")
    if postgresql:
        op.execute(f"ALTER TABLE tool_execution_rollups ADD COLUMN {by_error}")
        op.execute("ALTER TABLE tool_execution_rollups DROP CONSTRAINT pk_tool_execution_rollups")
        op.create_primary_key("pk_tool_execution_rollups", "tool_execution_rollups", list(key))
        return
    op.rename_table("tool_execution_rollups", "rollups_before")  # a key can only be changed by a new table
    op.create_table(
        "tool_execution_rollups",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("start_at", UTCDateTime, nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("executions", sa.BigInteger, nullable=False),
        sa.Column("successes", sa.BigInteger, nullable=False),
        sa.Column("duration_sum_ms", sa.Float, nullable=False),
        sa.Column("error_type", sa.String(255), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint(*key, name="pk_tool_execution_rollups"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO tool_execution_rollups SELECT tool_name, width, start_at, version_number, bucket, executions, "
        "successes, duration_sum_ms, '' FROM rollups_before"
    )
    op.drop_table("rollups_before")


def _first_hours() -> None:
    op.create_table(
        "tool_version_starts",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False, comment="0 where none was named"),
        sa.Column("first_hour", UTCDateTime, nullable=False),
        sa.PrimaryKeyConstraint("tool_name", "version_number", name="pk_tool_version_starts"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO tool_version_starts SELECT tool_name, version_number, MIN(start_at) "
        "FROM tool_execution_rollups WHERE width = 3600 GROUP BY 1, 2"
    )
