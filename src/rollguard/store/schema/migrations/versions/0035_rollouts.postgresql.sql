CREATE TABLE rollouts (
    rollout_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    kind VARCHAR(20) DEFAULT 'canary' NOT NULL,
    session_id INTEGER NOT NULL,
    old_version INTEGER NOT NULL,
    new_version INTEGER NOT NULL,
    state VARCHAR(20) DEFAULT 'ramping' NOT NULL,
    stage INTEGER DEFAULT 0 NOT NULL,
    share FLOAT NOT NULL,
    draw_key BYTEA NOT NULL,
    ramp TEXT NOT NULL,
    arms TEXT,
    counted_until TIMESTAMP WITH TIME ZONE,
    counted_id BIGINT DEFAULT 0 NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_by VARCHAR(255) NOT NULL,
    reason TEXT,
    ended_at TIMESTAMP WITH TIME ZONE,
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

ALTER TABLE tool_executions
    ADD COLUMN rollout_id INTEGER,
    ADD COLUMN stage INTEGER,
    ADD COLUMN arm VARCHAR(3),
    ADD CONSTRAINT ck_tool_executions_drawn CHECK (
        (rollout_id IS NULL AND stage IS NULL AND arm IS NULL)
        OR (rollout_id >= 1 AND stage >= 0 AND arm IS NOT NULL AND arm IN ('new', 'old'))
    );

CREATE INDEX ix_tool_executions_rollout_id ON tool_executions (rollout_id, executed_at) WHERE rollout_id IS NOT NULL;

ALTER TABLE calls_in_flight
    ADD COLUMN request_id VARCHAR(255),
    ADD COLUMN rollout_id INTEGER,
    ADD COLUMN stage INTEGER,
    ADD COLUMN arm VARCHAR(3);

ALTER TABLE deployment_rollbacks ADD COLUMN rollout_id INTEGER;

COMMENT ON COLUMN rollouts.old_version IS 'the version that served before';

COMMENT ON COLUMN rollouts.new_version IS 'the version beside it';

COMMENT ON COLUMN rollouts.session_id IS 'the session that judges the new version';

COMMENT ON COLUMN rollouts.stage IS 'its number, from 0 on';

COMMENT ON COLUMN rollouts.share IS 'the probability with which a unit gets the new version';

COMMENT ON COLUMN rollouts.draw_key IS 'the key of the draw, 32 random bytes';

COMMENT ON COLUMN rollouts.ramp IS 'JSON: the plan, and where it is';

COMMENT ON COLUMN rollouts.arms IS 'JSON: the counted units of both versions; NULL before the first check';

COMMENT ON COLUMN rollouts.counted_until IS 'when the last counted unit was drawn';

COMMENT ON COLUMN rollouts.counted_id IS 'the row of that unit';

COMMENT ON COLUMN rollouts.revision IS 'rises with every change of state';

COMMENT ON COLUMN rollouts.ended_by IS 'who ended it';

COMMENT ON COLUMN rollouts.ended_why IS 'why, in words';

COMMENT ON COLUMN tool_executions.rollout_id IS 'the rollout in which one of two versions was drawn for the call';

COMMENT ON COLUMN tool_executions.stage IS 'the rollout''s stage at whose share it was drawn';

COMMENT ON COLUMN tool_executions.arm IS 'the version that was drawn: new or old';

COMMENT ON COLUMN calls_in_flight.request_id IS 'what the call was made for';

COMMENT ON COLUMN calls_in_flight.rollout_id IS 'the rollout in which its version was drawn';

COMMENT ON COLUMN calls_in_flight.stage IS 'the rollout''s stage';

COMMENT ON COLUMN calls_in_flight.arm IS 'the version that was drawn: new or old';

COMMENT ON COLUMN deployment_rollbacks.rollout_id IS 'the rollout that it ended, in which the restored version served all along'
