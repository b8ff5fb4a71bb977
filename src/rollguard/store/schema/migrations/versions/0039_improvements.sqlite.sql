CREATE TABLE improvement_attempts (
    attempt_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    cause_key VARCHAR(64),
    cause TEXT,
    kind VARCHAR(40) NOT NULL,
    priority VARCHAR(20) NOT NULL,
    state VARCHAR(20) DEFAULT 'found' NOT NULL,
    why VARCHAR(20),
    leased_by VARCHAR(255),
    leased_until DATETIME,
    starts INTEGER DEFAULT 0 NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    idempotency_key VARCHAR(64) NOT NULL,
    base_version INTEGER NOT NULL,
    base_sha256 VARCHAR(64) NOT NULL,
    candidate BLOB,
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
    expires_at DATETIME,
    not_before DATETIME,
    version_number INTEGER,
    session_id INTEGER,
    created_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    updated_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    ended_at DATETIME,
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
    event_id INTEGER NOT NULL,
    attempt_id INTEGER,
    tool_name VARCHAR(255),
    at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
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
    updated_at DATETIME NOT NULL,
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
    json_extract(proposal, '$.author') AS author,
    json_extract(proposal, '$.model') AS model,
    strategy,
    verdict,
    tokens,
    cost,
    seconds,
    created_at,
    ended_at
FROM improvement_attempts;

CREATE TRIGGER improvement_events_update_refused BEFORE UPDATE ON improvement_events
BEGIN
  SELECT RAISE(ABORT, 'improvement_events is append-only');
END;

CREATE TRIGGER improvement_events_delete_refused BEFORE DELETE ON improvement_events
BEGIN
  SELECT RAISE(ABORT, 'improvement_events is append-only');
END
