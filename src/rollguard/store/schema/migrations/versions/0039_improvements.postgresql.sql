CREATE TABLE improvement_attempts (
    attempt_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    cause_key VARCHAR(64),
    cause TEXT,
    kind VARCHAR(40) NOT NULL,
    priority VARCHAR(20) NOT NULL,
    state VARCHAR(20) DEFAULT 'found' NOT NULL,
    why VARCHAR(20),
    leased_by VARCHAR(255),
    leased_until TIMESTAMP WITH TIME ZONE,
    starts INTEGER DEFAULT 0 NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    idempotency_key VARCHAR(64) NOT NULL,
    base_version INTEGER NOT NULL,
    base_sha256 VARCHAR(64) NOT NULL,
    candidate BYTEA,
    candidate_sha256 VARCHAR(64),
    proposal TEXT,
    strategy VARCHAR(20),
    verdict VARCHAR(20),
    evidence TEXT DEFAULT '{}' NOT NULL,
    reasons TEXT DEFAULT '[]' NOT NULL,
    budget TEXT DEFAULT '{}' NOT NULL,
    tokens BIGINT DEFAULT 0 NOT NULL,
    cost FLOAT DEFAULT 0 NOT NULL,
    seconds FLOAT DEFAULT 0 NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    not_before TIMESTAMP WITH TIME ZONE,
    version_number INTEGER,
    session_id INTEGER,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_improvement_attempts PRIMARY KEY (attempt_id),
    CONSTRAINT uq_improvement_attempts_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT ck_improvement_attempts_state CHECK (state IN ('found', 'investigated', 'proposed', 'waiting', 'approved', 'deploying', 'watching', 'succeeded', 'unproven', 'failed', 'refused', 'void', 'dropped')),
    CONSTRAINT ck_improvement_attempts_ended CHECK ((state IN ('found', 'investigated', 'proposed', 'waiting', 'approved', 'deploying', 'watching')) = (ended_at IS NULL)),
    CONSTRAINT ck_improvement_attempts_why CHECK ((ended_at IS NULL) = (why IS NULL))
);

CREATE UNIQUE INDEX uq_improvement_attempts_open ON improvement_attempts (tool_name)
    WHERE state IN ('found', 'investigated', 'proposed', 'waiting', 'approved', 'deploying', 'watching');

CREATE INDEX ix_improvement_attempts_tool_name ON improvement_attempts (tool_name, attempt_id);

CREATE INDEX ix_improvement_attempts_created_at ON improvement_attempts (created_at);

CREATE TABLE improvement_events (
    event_id SERIAL NOT NULL,
    attempt_id INTEGER,
    tool_name VARCHAR(255),
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    event VARCHAR(20) NOT NULL,
    from_state VARCHAR(20),
    to_state VARCHAR(20),
    try_number INTEGER DEFAULT 0 NOT NULL,
    by VARCHAR(255) NOT NULL,
    reason TEXT,
    details TEXT DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_improvement_events PRIMARY KEY (event_id)
);

CREATE INDEX ix_improvement_events_attempt_id ON improvement_events (attempt_id, event_id);

CREATE INDEX ix_improvement_events_freezes ON improvement_events (event_id)
    WHERE event IN ('freeze', 'unfreeze');

CREATE TABLE loop_statistics (
    name VARCHAR(40) NOT NULL,
    total BIGINT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_loop_statistics PRIMARY KEY (name)
);

CREATE VIEW improvement_history AS
SELECT
    attempt_id,
    tool_name,
    kind,
    priority,
    cause_key,
    cause,
    state,
    why,
    tries,
    base_version,
    version_number,
    session_id,
    candidate_sha256,
    proposal::jsonb ->> 'author' AS author,
    proposal::jsonb ->> 'model' AS model,
    strategy,
    verdict,
    tokens,
    cost,
    seconds,
    created_at,
    ended_at
FROM improvement_attempts;

CREATE FUNCTION rollguard_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER improvement_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON improvement_events
    FOR EACH STATEMENT EXECUTE FUNCTION rollguard_append_only();

COMMENT ON TABLE improvement_attempts IS 'attempts of the autonomous loop to improve a tool';

COMMENT ON TABLE improvement_events IS 'each decision of the loop and of people about an attempt; append-only';

COMMENT ON TABLE loop_statistics IS 'what all loops on this store did so far';

COMMENT ON COLUMN improvement_attempts.cause_key IS 'names the cause; NULL before the investigation';

COMMENT ON COLUMN improvement_attempts.kind IS 'of the opportunity';

COMMENT ON COLUMN improvement_attempts.why IS 'why it ended';

COMMENT ON COLUMN improvement_attempts.leased_by IS 'the stage that works on it';

COMMENT ON COLUMN improvement_attempts.starts IS 'of stages, in this state';

COMMENT ON COLUMN improvement_attempts.tries IS 'proposals so far';

COMMENT ON COLUMN improvement_attempts.proposal IS 'JSON: source, author, model, prompt_sha256 and reason';

COMMENT ON COLUMN improvement_attempts.evidence IS 'JSON: what an approval is bound to';

COMMENT ON COLUMN improvement_attempts.reasons IS 'JSON list: why tries were refused';

COMMENT ON COLUMN improvement_attempts.budget IS 'JSON: tokens, seconds and tries';

COMMENT ON COLUMN improvement_attempts.expires_at IS 'until when it can be approved and deployed';

COMMENT ON COLUMN improvement_attempts.not_before IS 'until when its tool is left alone';

COMMENT ON COLUMN improvement_attempts.version_number IS 'the deployed version';

COMMENT ON COLUMN improvement_attempts.session_id IS 'what monitors it';

COMMENT ON COLUMN improvement_events.attempt_id IS 'NULL for a freeze';

COMMENT ON COLUMN improvement_events.tool_name IS 'NULL for a freeze of every tool';

COMMENT ON COLUMN improvement_events.event IS 'the transition, or find, freeze and unfreeze'
