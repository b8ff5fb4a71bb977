"""On PostgreSQL the table of ids holds the callers' own ids alone: writing every id there took longer than its row.

An id that Rollguard made holds its execution's time, so a unique index that holds the time too, as one of a partitioned
table has to, is enough to store it once.
"""

from alembic import op

from rollguard.store.executions.ids import OURS_POSTGRESQL

revision = "0007"
down_revision = "0006"

# The trigger makes other programs' rows keep the promise; our own bulk writes keep it themselves.
ONCE = f"""
CREATE FUNCTION rollguard_time_of_id(execution_id text) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN execution_id ~ '{OURS_POSTGRESQL}' THEN
        'epoch'::timestamptz + ('x' || substr(execution_id, 3, 14))::bit(56)::bigint * interval '1 microsecond' END
$$;
CREATE OR REPLACE FUNCTION rollguard_store_once() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held timestamptz := rollguard_time_of_id(NEW.execution_id);
BEGIN
    IF held IS NULL THEN
        INSERT INTO execution_keys (execution_id, executed_at) VALUES (NEW.execution_id, NEW.executed_at)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    ELSIF held <> NEW.executed_at THEN
        RAISE check_violation USING MESSAGE = format(
            'execution_id %s is the id that Rollguard gave to an execution at %s, not at %s',
            NEW.execution_id, held, NEW.executed_at);
    ELSIF EXISTS (SELECT 1 FROM tool_executions x WHERE x.execution_id = NEW.execution_id
                  AND x.execution_id LIKE 'rg%' AND x.executed_at = NEW.executed_at) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # there one unique index holds every id
    op.execute(
        "CREATE UNIQUE INDEX uq_tool_executions_ours ON tool_executions (execution_id, executed_at) "
        "WHERE execution_id LIKE 'rg%'"
    )
    op.execute(ONCE)
    op.execute(
        "COMMENT ON TABLE execution_keys IS "
        "'every execution_id of the callers'' own that is stored, across the partitions'"
    )
