CREATE TABLE rollouts (
    rollout_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    kind VARCHAR(20) DEFAULT 'canary' NOT NULL,
    session_id INTEGER NOT NULL,
    old_version INTEGER NOT NULL,
    new_version INTEGER NOT NULL,
    state VARCHAR(20) DEFAULT 'ramping' NOT NULL,
    stage INTEGER DEFAULT 0 NOT NULL,
    share FLOAT NOT NULL,
    draw_key BLOB NOT NULL,
    ramp TEXT NOT NULL,
    arms TEXT,
    counted_until DATETIME,
    counted_id BIGINT DEFAULT 0 NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    started_at DATETIME NOT NULL,
    started_by VARCHAR(255) NOT NULL,
    reason TEXT,
    ended_at DATETIME,
    ended_by VARCHAR(255),
    ended_why TEXT,
    CONSTRAINT pk_rollouts PRIMARY KEY (rollout_id),
    CONSTRAINT ck_rollouts_kind CHECK (kind IN ('canary', 'confirm')),
    CONSTRAINT ck_rollouts_state CHECK (state IN ('ramping', 'frozen', 'paused', 'promoted', 'rolled_back',
        'unproven', 'aborted', 'superseded', 'failed')),
    CONSTRAINT ck_rollouts_ended CHECK ((state IN ('ramping', 'frozen', 'paused')) = (ended_at IS NULL)),
    CONSTRAINT ck_rollouts_ended_by CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CONSTRAINT ck_rollouts_share CHECK (share >= 0 AND share <= 1),
    CONSTRAINT ck_rollouts_versions CHECK (old_version <> new_version)
);

CREATE INDEX ix_rollouts_tool_name ON rollouts (tool_name, rollout_id);

CREATE INDEX ix_rollouts_session_id ON rollouts (session_id);

CREATE UNIQUE INDEX uq_rollouts_open ON rollouts (tool_name) WHERE ended_at IS NULL;

ALTER TABLE tool_executions ADD COLUMN rollout_id INTEGER;

ALTER TABLE tool_executions ADD COLUMN stage INTEGER;

ALTER TABLE tool_executions ADD COLUMN arm VARCHAR(3);

CREATE INDEX ix_tool_executions_rollout_id ON tool_executions (rollout_id, executed_at) WHERE rollout_id IS NOT NULL;

-- Triggers of their own: they are asked for most rows whether they have an arm at all, and that is cheap.
CREATE TRIGGER tool_executions_drawn_insert BEFORE INSERT ON tool_executions
WHEN (NEW.rollout_id IS NOT NULL OR NEW.stage IS NOT NULL OR NEW.arm IS NOT NULL)
  AND NOT COALESCE(
    typeof(NEW.rollout_id) = 'integer' AND NEW.rollout_id BETWEEN 1 AND 2147483647
    AND typeof(NEW.stage) = 'integer' AND NEW.stage BETWEEN 0 AND 2147483647
    AND NEW.arm IN ('new', 'old'), FALSE)
BEGIN
  SELECT RAISE(ABORT, 'rollout_id, stage and arm must be two whole numbers, and new or old');
END;

CREATE TRIGGER tool_executions_drawn_update BEFORE UPDATE OF rollout_id, stage, arm ON tool_executions
WHEN (NEW.rollout_id IS NOT NULL OR NEW.stage IS NOT NULL OR NEW.arm IS NOT NULL)
  AND NOT COALESCE(
    typeof(NEW.rollout_id) = 'integer' AND NEW.rollout_id BETWEEN 1 AND 2147483647
    AND typeof(NEW.stage) = 'integer' AND NEW.stage BETWEEN 0 AND 2147483647
    AND NEW.arm IN ('new', 'old'), FALSE)
BEGIN
  SELECT RAISE(ABORT, 'rollout_id, stage and arm must be two whole numbers, and new or old');
END;

DROP TRIGGER IF EXISTS calls_in_flight_insert_typed;

DROP TRIGGER IF EXISTS calls_in_flight_update_typed;

ALTER TABLE calls_in_flight ADD COLUMN request_id VARCHAR(255);

ALTER TABLE calls_in_flight ADD COLUMN rollout_id INTEGER;

ALTER TABLE calls_in_flight ADD COLUMN stage INTEGER;

ALTER TABLE calls_in_flight ADD COLUMN arm VARCHAR(3);

DROP TRIGGER IF EXISTS deployment_rollbacks_insert_typed;

DROP TRIGGER IF EXISTS deployment_rollbacks_update_typed;

ALTER TABLE deployment_rollbacks ADD COLUMN rollout_id INTEGER;
