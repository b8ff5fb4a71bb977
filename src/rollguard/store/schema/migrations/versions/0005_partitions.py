"""On PostgreSQL executions are partitioned by week, so that old ones are dropped and not deleted row by row.

What is there becomes a partition as it is, without being copied: everything before the week that begins next. A unique
constraint of a partitioned table must hold the time, so that an id is stored once is held by a table of ids.
"""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.types import UTCDateTime

revision = "0005"
down_revision = "0004"

PARTITIONED = """
DROP TRIGGER tool_executions_rollup ON tool_executions;
ALTER TABLE tool_executions RENAME TO tool_executions_before;
INSERT INTO execution_keys (execution_id, executed_at)
SELECT execution_id, executed_at FROM tool_executions_before WHERE execution_id IS NOT NULL;
ALTER TABLE tool_executions_before DROP CONSTRAINT pk_tool_executions;
ALTER TABLE tool_executions_before DROP CONSTRAINT uq_tool_executions_execution_id;
ALTER INDEX ix_tool_executions_tool_name_executed_at RENAME TO ix_tool_executions_before;
CREATE TABLE tool_executions (
    LIKE tool_executions_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS,
    CONSTRAINT pk_tool_executions PRIMARY KEY (id, executed_at)
) PARTITION BY RANGE (executed_at);
ALTER SEQUENCE tool_executions_id_seq OWNED BY tool_executions.id;
CREATE INDEX ix_tool_executions_tool_name_executed_at ON tool_executions (tool_name, executed_at);
CREATE TABLE tool_executions_default PARTITION OF tool_executions DEFAULT;
"""

# Beside a partition of everything up to its end, weeks can only be made after it; where nothing is, from this one on.
ATTACHED = """
DO $$
DECLARE
    week timestamptz := date_trunc('week', now(), 'UTC');
BEGIN
    IF EXISTS (SELECT 1 FROM tool_executions_before) THEN
        week := week + interval '7 days';
        WITH later AS (DELETE FROM tool_executions_before WHERE executed_at >= week RETURNING *)
        INSERT INTO tool_executions SELECT * FROM later;
        EXECUTE format('ALTER TABLE tool_executions ATTACH PARTITION tool_executions_before '
                       'FOR VALUES FROM (MINVALUE) TO (%L)', week);
    ELSE
        DROP TABLE tool_executions_before;
    END IF;
    FOR number IN 0..2 LOOP
        IF NOT EXISTS (SELECT 1 FROM tool_executions_default
                       WHERE executed_at >= week AND executed_at < week + interval '7 days') THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF tool_executions FOR VALUES FROM (%L) TO (%L)',
                           'tool_executions_w' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'),
                           week, week + interval '7 days');
        END IF;
        week := week + interval '7 days';
    END LOOP;
END
$$;
"""

TRIGGERS = """
CREATE FUNCTION rollguard_store_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution_keys (execution_id, executed_at) VALUES (NEW.execution_id, NEW.executed_at)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER tool_executions_once BEFORE INSERT ON tool_executions FOR EACH ROW
WHEN (NEW.execution_id IS NOT NULL AND current_setting('rollguard.keyed', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION rollguard_store_once();
CREATE TRIGGER tool_executions_rollup AFTER INSERT ON tool_executions
REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION rollguard_note_executions();
"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # SQLite knows no partitions, and deleting rows there is as good
    op.create_table(
        "execution_keys",
        sa.Column("execution_id", sa.String(255), nullable=False),
        sa.Column("executed_at", UTCDateTime, nullable=False),
        sa.PrimaryKeyConstraint("execution_id", name="pk_execution_keys"),
        comment="every execution_id that is stored, across the partitions",
    )
    op.execute(PARTITIONED)
    op.create_index("ix_execution_keys_executed_at", "execution_keys", ["executed_at"])
    op.execute(ATTACHED)
    op.execute(TRIGGERS)
