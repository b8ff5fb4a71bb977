"""A rollup is one row with a histogram of its durations, no longer a row for each bucket of them.

That is a tenth of the rows to write and to read. On PostgreSQL a writer that has counted what it writes notes that
itself, beside its rows, and says so; the trigger notes all others.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.histograms import BUCKET_POSTGRESQL
from rollguard.store.database.types import Histogram, UTCDateTime

revision = "0010"
down_revision = "0009"

KEY = ("tool_name", "width", "start_at", "version_number", "error_type")
NOTED = ("tool_name", "version_number", "minute", "error_type")

HISTOGRAM = {
    "postgresql": "COALESCE(ARRAY[array_agg(bucket::bigint) FILTER (WHERE bucket >= 0), "
    "array_agg(executions::bigint) FILTER (WHERE bucket >= 0)], '{}')",
    "sqlite": "json_group_object(CAST(bucket AS TEXT), executions) FILTER (WHERE bucket >= 0)",
}

# Of the counts bucket by bucket.
MERGED = """
SELECT {key}, SUM(executions), SUM(successes), SUM(CASE WHEN bucket >= 0 THEN executions ELSE 0 END),
       SUM(duration_sum_ms), {histogram}
FROM {source} GROUP BY {key}"""

COUNTS = "executions, successes, timed, duration_sum_ms, histogram"

NOTE = f"""
CREATE OR REPLACE FUNCTION rollguard_note_executions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tool_execution_deltas ({", ".join(NOTED)}, {COUNTS})
    WITH counted AS (
        SELECT
            x.tool_name,
            COALESCE(x.version_number, 0) AS version_number,
            date_trunc('minute', x.executed_at, 'UTC') AS minute,
            CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END AS error_type,
            {BUCKET_POSTGRESQL} AS bucket,
            COUNT(*) AS executions,
            COUNT(*) FILTER (WHERE x.success) AS successes,
            COALESCE(SUM(x.duration_ms), 0) AS duration_sum_ms
        FROM arrived x
        GROUP BY 1, 2, 3, 4, 5
    )
    {MERGED.format(key=", ".join(NOTED), histogram=HISTOGRAM["postgresql"], source="counted")};
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT DISTINCT x.tool_name, x.request_id FROM arrived x WHERE x.request_id IS NOT NULL;
    PERFORM pg_notify('rollguard_executions', watched.tool_name)
    FROM (SELECT DISTINCT x.tool_name FROM arrived x) AS ran
    JOIN deployment_monitoring watched ON watched.tool_name = ran.tool_name AND watched.status = 'active';
    RETURN NULL;
END
$$;
DROP TRIGGER tool_executions_rollup ON tool_executions;
CREATE TRIGGER tool_executions_rollup AFTER INSERT ON tool_executions
REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT
WHEN (current_setting('rollguard.noted', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION rollguard_note_executions();
CREATE FUNCTION rollguard_merged(one bigint[], other bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(ARRAY[array_agg(bucket), array_agg(executions)], '{{}}') FROM (
        SELECT bucket, SUM(executions)::bigint AS executions FROM (
            SELECT * FROM unnest(one[1:1], one[2:2]) AS a (bucket, executions)
            UNION ALL
            SELECT * FROM unnest(other[1:1], other[2:2]) AS b (bucket, executions)
        ) AS added GROUP BY bucket
    ) AS merged
$$;
"""


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute("LOCK TABLE tool_executions IN SHARE ROW EXCLUSIVE MODE")  # first, as every writer does
    op.execute("DROP VIEW version_history_with_metrics")  # it reads the rollups
    for table in ("tool_execution_rollups", "tool_execution_deltas"):
        op.rename_table(table, f"{table}_before")
    if dialect == "postgresql":
        op.drop_constraint("pk_tool_execution_rollups", "tool_execution_rollups_before")
    op.create_table(
        "tool_execution_rollups",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("width", sa.Integer, nullable=False, comment="seconds: 60 or 3600"),
        sa.Column("start_at", UTCDateTime, nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False, comment="0 where none was named"),
        sa.Column("error_type", sa.String(255), nullable=False, server_default=""),
        *_counts(),
        sa.PrimaryKeyConstraint(*KEY, name="pk_tool_execution_rollups"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tool_execution_deltas",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("minute", UTCDateTime, nullable=False),
        sa.Column("error_type", sa.String(255), nullable=False, server_default=""),
        *_counts(),
        comment="counted and not yet folded into the rollups",
    )
    for table, columns in (("tool_execution_rollups", KEY), ("tool_execution_deltas", NOTED)):
        key = ", ".join(columns)
        # A bucket may have been noted more than once.
        sums = "SUM(executions) AS executions, SUM(successes) AS successes, SUM(duration_sum_ms) AS duration_sum_ms"
        once = f"(SELECT {key}, bucket, {sums} FROM {table}_before GROUP BY {key}, bucket) AS once"
        merged = MERGED.format(key=key, histogram=HISTOGRAM[dialect], source=once)
        op.execute(f"INSERT INTO {table} ({key}, {COUNTS}) {merged}")
        op.drop_table(f"{table}_before")
    if dialect == "postgresql":
        op.execute(NOTE)
    op.execute(_view(dialect))


def _counts() -> tuple[sa.Column[int], sa.Column[int], sa.Column[int], sa.Column[float], sa.Column[str]]:
    return (
        sa.Column("executions", sa.BigInteger, nullable=False),
        sa.Column("successes", sa.BigInteger, nullable=False),
        sa.Column("timed", sa.BigInteger, nullable=False, comment="executions with a duration"),
        sa.Column("duration_sum_ms", sa.Float, nullable=False),
        sa.Column("histogram", Histogram, nullable=False, comment="of their durations: bucket and executions"),
    )


def _view(dialect: str) -> str:
    """The view as it was, but for where it finds how many executions have a duration."""
    before = import_module("rollguard.store.schema.migrations.versions.0009_versions")
    view = before._version_history(dialect).replace("CASE WHEN x.bucket >= 0 THEN x.executions END", "x.timed")
    return str(before._escaped(view))
