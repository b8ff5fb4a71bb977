-- Rollguard's schema 0043 for postgresql
-- Printed by `rollguard schema`: do not edit it. A later start of Rollguard accepts what it makes.

BEGIN;

CREATE TABLE rollguard_schema_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT rollguard_schema_version_pkc PRIMARY KEY (version_num)
);

-- 0013: The whole schema, as whole statements: in the file of this name for each database.

-- The schema of a PostgreSQL store. Statements are separated by empty lines.

-- --- tables ----------------------------------------------------------------------------------------------------------

CREATE TABLE tool_executions (
    id BIGSERIAL NOT NULL,
    execution_id VARCHAR(255),
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    success BOOLEAN NOT NULL,
    duration_ms FLOAT,
    error_type VARCHAR(255),
    error TEXT,
    parameters TEXT,
    result TEXT,
    executed_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    request_id VARCHAR(255),
    CONSTRAINT pk_tool_executions PRIMARY KEY (id, executed_at),
    CONSTRAINT ck_tool_executions_duration CHECK (duration_ms >= 0),
    CONSTRAINT ck_tool_executions_duration_limit CHECK (duration_ms <= 1e15)
) PARTITION BY RANGE (executed_at);

CREATE INDEX ix_tool_executions_tool_name_executed_at ON tool_executions (tool_name, executed_at);

CREATE INDEX ix_tool_executions_failed ON tool_executions (tool_name, executed_at) WHERE NOT success;

CREATE INDEX ix_tool_executions_request_id ON tool_executions (tool_name, request_id) WHERE request_id IS NOT NULL;

CREATE UNIQUE INDEX uq_tool_executions_ours ON tool_executions (execution_id, executed_at)
    WHERE execution_id LIKE 'rg%';

COMMENT ON COLUMN tool_executions.execution_id IS 'the caller''s id of the call; a repeated one is stored once';
COMMENT ON COLUMN tool_executions.version_number IS 'the version that ran; NULL counts by time';
COMMENT ON COLUMN tool_executions.parameters IS 'JSON';
COMMENT ON COLUMN tool_executions.result IS 'JSON';
COMMENT ON COLUMN tool_executions.executed_at IS 'when the call began';
COMMENT ON COLUMN tool_executions.request_id IS 'executions that share one count once, with the last outcome';

CREATE TABLE execution_keys (
    execution_id VARCHAR(255) NOT NULL,
    executed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_execution_keys PRIMARY KEY (execution_id)
);

CREATE INDEX ix_execution_keys_executed_at ON execution_keys (executed_at);

COMMENT ON TABLE execution_keys IS 'every execution_id of the callers'' own that is stored, across the partitions';

CREATE TABLE request_arrivals (
    tool_name VARCHAR(255) NOT NULL,
    request_id VARCHAR(255) NOT NULL
);

COMMENT ON TABLE request_arrivals IS 'requests whose executions arrived and were not looked through yet';

CREATE TABLE superseded_executions (
    id BIGINT NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    success BOOLEAN NOT NULL,
    duration_ms FLOAT,
    error_type VARCHAR(255),
    executed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_superseded_executions PRIMARY KEY (id)
);

CREATE INDEX ix_superseded_executions_tool_name ON superseded_executions (tool_name, executed_at);

COMMENT ON TABLE superseded_executions IS
    'executions whose request was tried again later: counted in the rollups, and taken off the counts';
COMMENT ON COLUMN superseded_executions.id IS 'of the row in tool_executions';

CREATE TABLE tool_execution_rollups (
    tool_name VARCHAR(255) NOT NULL,
    width INTEGER NOT NULL,
    start_at TIMESTAMPTZ NOT NULL,
    version_number INTEGER NOT NULL,
    error_type VARCHAR(255) DEFAULT '' NOT NULL,
    executions BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    timed BIGINT NOT NULL,
    duration_sum_ms FLOAT NOT NULL,
    histogram BIGINT[] NOT NULL,
    CONSTRAINT pk_tool_execution_rollups PRIMARY KEY (tool_name, width, start_at, version_number, error_type)
);

COMMENT ON COLUMN tool_execution_rollups.width IS 'seconds: 60 or 3600';
COMMENT ON COLUMN tool_execution_rollups.version_number IS '0 where none was named';
COMMENT ON COLUMN tool_execution_rollups.timed IS 'executions with a duration';
COMMENT ON COLUMN tool_execution_rollups.histogram IS 'of their durations: bucket and executions';

CREATE TABLE tool_execution_deltas (
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    minute TIMESTAMPTZ NOT NULL,
    error_type VARCHAR(255) DEFAULT '' NOT NULL,
    executions BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    timed BIGINT NOT NULL,
    duration_sum_ms FLOAT NOT NULL,
    histogram BIGINT[] NOT NULL
);

COMMENT ON TABLE tool_execution_deltas IS 'counted and not yet folded into the rollups';
COMMENT ON COLUMN tool_execution_deltas.timed IS 'executions with a duration';
COMMENT ON COLUMN tool_execution_deltas.histogram IS 'of their durations: bucket and executions';

CREATE TABLE tool_version_starts (
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    first_hour TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_tool_version_starts PRIMARY KEY (tool_name, version_number)
);

COMMENT ON COLUMN tool_version_starts.version_number IS '0 where none was named';

CREATE TABLE rollup_state (
    only_row INTEGER NOT NULL,
    rolled_to BIGINT NOT NULL,
    CONSTRAINT pk_rollup_state PRIMARY KEY (only_row),
    CONSTRAINT ck_rollup_state_only_row CHECK (only_row = 1)
);

COMMENT ON COLUMN rollup_state.rolled_to IS 'SQLite: the last id that was rolled up';

CREATE TABLE tool_versions (
    version_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    code BYTEA NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    reason TEXT,
    parent_version INTEGER,
    created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    CONSTRAINT pk_tool_versions PRIMARY KEY (version_id),
    CONSTRAINT uq_tool_versions_tool_name_version_number UNIQUE (tool_name, version_number),
    CONSTRAINT uq_tool_versions_tool_name_sha256 UNIQUE (tool_name, sha256),
    CONSTRAINT ck_tool_versions_number CHECK (version_number >= 1),
    CONSTRAINT ck_tool_versions_kind
        CHECK (kind IN ('initial', 'bugfix', 'enhancement', 'improvement', 'edit', 'rollback'))
);

COMMENT ON COLUMN tool_versions.code IS 'the file''s bytes, exactly';

CREATE TABLE tool_deployments (
    deployment_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    deployed_at TIMESTAMPTZ NOT NULL,
    deployed_by VARCHAR(255) NOT NULL,
    reason TEXT,
    ended_at TIMESTAMPTZ,
    ended_by VARCHAR(20),
    kind VARCHAR(20) DEFAULT 'deployment' NOT NULL,
    CONSTRAINT pk_tool_deployments PRIMARY KEY (deployment_id),
    CONSTRAINT ck_tool_deployments_ended CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CONSTRAINT ck_tool_deployments_ended_by CHECK (ended_by IN ('deployment', 'rollback')),
    CONSTRAINT ck_tool_deployments_kind CHECK (kind IN ('deployment', 'rollback'))
);

CREATE INDEX ix_tool_deployments_tool_name ON tool_deployments (tool_name, deployment_id);

CREATE UNIQUE INDEX uq_tool_deployments_live ON tool_deployments (tool_name) WHERE ended_at IS NULL;

COMMENT ON COLUMN tool_deployments.ended_by IS 'what took its place: a deployment or a rollback';

CREATE TABLE quarantined_code (
    quarantine_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    version_number INTEGER NOT NULL,
    rollback_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    quarantined_at TIMESTAMPTZ NOT NULL,
    noticed_at TIMESTAMPTZ,
    lifted_at TIMESTAMPTZ,
    lifted_by VARCHAR(255),
    CONSTRAINT pk_quarantined_code PRIMARY KEY (quarantine_id),
    CONSTRAINT ck_quarantined_code_lifted CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);

CREATE UNIQUE INDEX uq_quarantined_code_in_force ON quarantined_code (tool_name, sha256) WHERE lifted_at IS NULL;

COMMENT ON COLUMN quarantined_code.rollback_id IS 'the rollback that quarantined it';
COMMENT ON COLUMN quarantined_code.noticed_at IS 'since when the tool''s file holds it all the same';

CREATE TABLE tool_actuations (
    tool_name VARCHAR(255) NOT NULL,
    sequence BIGINT NOT NULL,
    held_by VARCHAR(255),
    held_until TIMESTAMPTZ,
    unsettled_since TIMESTAMPTZ,
    attempts INTEGER DEFAULT 0 NOT NULL,
    next_attempt_at TIMESTAMPTZ,
    last_error TEXT,
    CONSTRAINT pk_tool_actuations PRIMARY KEY (tool_name)
);

COMMENT ON COLUMN tool_actuations.sequence IS 'of the latest call; it only rises';
COMMENT ON COLUMN tool_actuations.unsettled_since IS 'a request began then, and its end is not recorded';

CREATE TABLE deployment_monitoring (
    session_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    deployment_time TIMESTAMPTZ NOT NULL,
    monitoring_started_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    monitoring_window_hours INTEGER DEFAULT 24 NOT NULL,
    baseline_window_days INTEGER DEFAULT 7 NOT NULL,
    regression_threshold FLOAT DEFAULT 0.15 NOT NULL,
    status VARCHAR(50) DEFAULT 'active' NOT NULL,
    completed_at TIMESTAMPTZ,
    notes TEXT,
    version_number INTEGER,
    live_before TIMESTAMPTZ,
    outcome VARCHAR(20),
    baseline TEXT,
    baseline_notes TEXT,
    watched_by VARCHAR(255),
    watched_until TIMESTAMPTZ,
    rules TEXT DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_deployment_monitoring PRIMARY KEY (session_id),
    CONSTRAINT ck_deployment_monitoring_status
        CHECK (status IN ('active', 'completed', 'rolled_back', 'superseded', 'cancelled')),
    CONSTRAINT ck_deployment_monitoring_closed CHECK ((status = 'active') = (completed_at IS NULL)),
    CONSTRAINT ck_deployment_monitoring_monitoring_window_hours CHECK (monitoring_window_hours BETWEEN 1 AND 8760),
    CONSTRAINT ck_deployment_monitoring_baseline_window_days CHECK (baseline_window_days BETWEEN 1 AND 365),
    CONSTRAINT ck_deployment_monitoring_regression_threshold
        CHECK (regression_threshold > 0 AND regression_threshold <= 1),
    CONSTRAINT ck_deployment_monitoring_outcome CHECK (outcome IS NULL OR status = 'completed'),
    CONSTRAINT ck_deployment_monitoring_outcome_value CHECK (outcome IN ('healthy', 'unproven', 'regressed'))
);

CREATE INDEX ix_deployment_monitoring_tool_name ON deployment_monitoring (tool_name, session_id);

CREATE UNIQUE INDEX uq_deployment_monitoring_active ON deployment_monitoring (tool_name) WHERE status = 'active';

COMMENT ON COLUMN deployment_monitoring.version_number IS
    'the version under watch; NULL counts executions by time alone';
COMMENT ON COLUMN deployment_monitoring.live_before IS
    'when that version was last live before this deployment, if ever';
COMMENT ON COLUMN deployment_monitoring.outcome IS 'of a completed session: healthy, unproven or regressed';
COMMENT ON COLUMN deployment_monitoring.baseline IS 'JSON: the baseline''s counts, once they no longer change';
COMMENT ON COLUMN deployment_monitoring.baseline_notes IS 'JSON list: what is mixed in the baseline';
COMMENT ON COLUMN deployment_monitoring.watched_by IS 'the watcher that looks after it';
COMMENT ON COLUMN deployment_monitoring.watched_until IS 'when another watcher may take it over';
COMMENT ON COLUMN deployment_monitoring.rules IS 'JSON: the other rules; {} is the defaults';

CREATE TABLE deployment_health_checks (
    check_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    session_id INTEGER,
    checked_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    baseline_success_rate FLOAT,
    baseline_total_executions INTEGER,
    baseline_avg_duration_ms FLOAT,
    current_success_rate FLOAT,
    current_total_executions INTEGER,
    current_avg_duration_ms FLOAT,
    baseline_p50_ms FLOAT,
    baseline_p95_ms FLOAT,
    baseline_p99_ms FLOAT,
    current_p50_ms FLOAT,
    current_p95_ms FLOAT,
    current_p99_ms FLOAT,
    success_rate_drop FLOAT,
    duration_change FLOAT,
    performance_degradation BOOLEAN DEFAULT false NOT NULL,
    regression_detected BOOLEAN DEFAULT false NOT NULL,
    regression_severity VARCHAR(20),
    needs_rollback BOOLEAN DEFAULT false NOT NULL,
    verdict VARCHAR(20),
    reasons TEXT,
    record TEXT,
    CONSTRAINT pk_deployment_health_checks PRIMARY KEY (check_id),
    CONSTRAINT fk_deployment_health_checks_session_id
        FOREIGN KEY (session_id) REFERENCES deployment_monitoring (session_id)
);

CREATE INDEX ix_deployment_health_checks_session_id ON deployment_health_checks (session_id, checked_at);

CREATE INDEX ix_deployment_health_checks_tool_name ON deployment_health_checks (tool_name, checked_at);

COMMENT ON COLUMN deployment_health_checks.reasons IS 'JSON list of sentences';
COMMENT ON COLUMN deployment_health_checks.record IS 'JSON: what the verdict can be computed from again';

CREATE TABLE deployment_rollbacks (
    rollback_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    session_id INTEGER,
    rollback_time TIMESTAMPTZ DEFAULT now() NOT NULL,
    reason TEXT NOT NULL,
    success_rate_drop FLOAT,
    regression_severity VARCHAR(20),
    rollback_successful BOOLEAN NOT NULL,
    rollback_type VARCHAR(20) DEFAULT 'threshold' NOT NULL,
    state VARCHAR(20) DEFAULT 'finished' NOT NULL,
    from_version INTEGER,
    to_version INTEGER,
    requested_by VARCHAR(255),
    attempts INTEGER DEFAULT 1 NOT NULL,
    claimed_at TIMESTAMPTZ,
    restored_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    error TEXT,
    investigation TEXT,
    actuator VARCHAR(20) DEFAULT 'folder' NOT NULL,
    sequence BIGINT,
    output TEXT,
    next_attempt_at TIMESTAMPTZ,
    quarantines BOOLEAN DEFAULT false NOT NULL,
    verified_at TIMESTAMPTZ,
    verification_success BOOLEAN,
    verification_note TEXT,
    CONSTRAINT pk_deployment_rollbacks PRIMARY KEY (rollback_id),
    CONSTRAINT uq_deployment_rollbacks_session_id UNIQUE (session_id),
    CONSTRAINT ck_deployment_rollbacks_state
        CHECK (state IN ('claimed', 'restored', 'finished', 'failed', 'observed', 'capped', 'overtaken')),
    CONSTRAINT ck_deployment_rollbacks_successful CHECK (NOT rollback_successful OR state = 'finished'),
    CONSTRAINT ck_deployment_rollbacks_verified CHECK ((verified_at IS NULL) = (verification_success IS NULL)),
    CONSTRAINT fk_deployment_rollbacks_session_id FOREIGN KEY (session_id) REFERENCES deployment_monitoring (session_id)
);

CREATE INDEX ix_deployment_rollbacks_tool_name ON deployment_rollbacks (tool_name, rollback_time);

CREATE INDEX ix_deployment_rollbacks_unverified ON deployment_rollbacks (rollback_time)
    WHERE state = 'finished' AND verification_note IS NULL;

CREATE UNIQUE INDEX uq_deployment_rollbacks_open ON deployment_rollbacks (tool_name)
    WHERE state IN ('claimed', 'restored');

COMMENT ON COLUMN deployment_rollbacks.investigation IS 'JSON: error signatures since the deployment against before';
COMMENT ON COLUMN deployment_rollbacks.actuator IS 'folder, command or webhook';
COMMENT ON COLUMN deployment_rollbacks.sequence IS 'of the call outside that was acknowledged';
COMMENT ON COLUMN deployment_rollbacks.output IS 'what the actuator said, its end';
COMMENT ON COLUMN deployment_rollbacks.next_attempt_at IS 'not tried again before';
COMMENT ON COLUMN deployment_rollbacks.quarantines IS 'whether its end quarantines';
COMMENT ON COLUMN deployment_rollbacks.verified_at IS 'when enough calls of the restored version were seen';
COMMENT ON COLUMN deployment_rollbacks.verification_success IS 'whether the restored version recovered';
COMMENT ON COLUMN deployment_rollbacks.verification_note IS 'what was seen of it, or why nothing could be';

CREATE TABLE notifications (
    notification_id SERIAL NOT NULL,
    created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
    event TEXT NOT NULL,
    delivered_to TEXT DEFAULT '[]' NOT NULL,
    delivered_at TIMESTAMPTZ,
    attempts INTEGER DEFAULT 0 NOT NULL,
    next_attempt_at TIMESTAMPTZ NOT NULL,
    last_error TEXT,
    CONSTRAINT pk_notifications PRIMARY KEY (notification_id)
);

CREATE INDEX ix_notifications_pending ON notifications (next_attempt_at) WHERE delivered_at IS NULL;

COMMENT ON COLUMN notifications.delivered_to IS 'JSON list of channels';

INSERT INTO rollup_state (only_row, rolled_to) VALUES (1, 0);

-- Old weeks are dropped, not deleted row by row; `rollguard.store.retention` makes the coming ones.
CREATE TABLE tool_executions_default PARTITION OF tool_executions DEFAULT;

DO $$
DECLARE
    week timestamptz := date_trunc('week', now(), 'UTC');
BEGIN
    FOR number IN 0..2 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF tool_executions FOR VALUES FROM (%L) TO (%L)',
                       'tool_executions_w' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'),
                       week, week + interval '7 days');
        week := week + interval '7 days';
    END LOOP;
END
$$;

-- --- functions -------------------------------------------------------------------------------------------------------

-- The bucket of a duration, as rollguard.judge.histogram has it. width_bucket counts the thresholds at or below a
-- value; turned round, those at or above it: an edge belongs to the bucket below.
CREATE FUNCTION rollguard_bucket(duration_ms float8) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $1 IS NULL THEN -1 ELSE 529 - width_bucket(-$1, ARRAY[
        -100000000.0, -95316200.0, -90851800.0, -86596400.0, -82540400.0, -78674400.0, -74989400.0,
        -71477100.0, -68129200.0, -64938200.0, -61896600.0, -58997500.0, -56234100.0, -53600200.0,
        -51089700.0, -48696800.0, -46415900.0, -44241900.0, -42169700.0, -40194500.0, -38311900.0,
        -36517400.0, -34807000.0, -33176700.0, -31622800.0, -30141600.0, -28729800.0, -27384200.0,
        -26101600.0, -24879000.0, -23713700.0, -22603000.0, -21544300.0, -20535300.0, -19573400.0,
        -18656600.0, -17782800.0, -16949900.0, -16156000.0, -15399300.0, -14678000.0, -13990500.0,
        -13335200.0, -12710600.0, -12115300.0, -11547800.0, -11006900.0, -10491400.0, -10000000.0, -9531620.0,
        -9085180.0, -8659640.0, -8254040.0, -7867440.0, -7498940.0, -7147710.0, -6812920.0, -6493820.0,
        -6189660.0, -5899750.0, -5623410.0, -5360020.0, -5108970.0, -4869680.0, -4641590.0, -4424190.0,
        -4216970.0, -4019450.0, -3831190.0, -3651740.0, -3480700.0, -3317670.0, -3162280.0, -3014160.0,
        -2872980.0, -2738420.0, -2610160.0, -2487900.0, -2371370.0, -2260300.0, -2154430.0, -2053530.0,
        -1957340.0, -1865660.0, -1778280.0, -1694990.0, -1615600.0, -1539930.0, -1467800.0, -1399050.0,
        -1333520.0, -1271060.0, -1211530.0, -1154780.0, -1100690.0, -1049140.0, -1000000.0, -953162.0,
        -908518.0, -865964.0, -825404.0, -786744.0, -749894.0, -714771.0, -681292.0, -649382.0, -618966.0,
        -589975.0, -562341.0, -536002.0, -510897.0, -486968.0, -464159.0, -442419.0, -421697.0, -401945.0,
        -383119.0, -365174.0, -348070.0, -331767.0, -316228.0, -301416.0, -287298.0, -273842.0, -261016.0,
        -248790.0, -237137.0, -226030.0, -215443.0, -205353.0, -195734.0, -186566.0, -177828.0, -169499.0,
        -161560.0, -153993.0, -146780.0, -139905.0, -133352.0, -127106.0, -121153.0, -115478.0, -110069.0,
        -104914.0, -100000.0, -95316.2, -90851.8, -86596.4, -82540.4, -78674.4, -74989.4, -71477.1, -68129.2,
        -64938.2, -61896.6, -58997.5, -56234.1, -53600.2, -51089.7, -48696.8, -46415.9, -44241.9, -42169.7,
        -40194.5, -38311.9, -36517.4, -34807.0, -33176.7, -31622.8, -30141.6, -28729.8, -27384.2, -26101.6,
        -24879.0, -23713.7, -22603.0, -21544.3, -20535.3, -19573.4, -18656.6, -17782.8, -16949.9, -16156.0,
        -15399.3, -14678.0, -13990.5, -13335.2, -12710.6, -12115.3, -11547.8, -11006.9, -10491.4, -10000.0,
        -9531.62, -9085.18, -8659.64, -8254.04, -7867.44, -7498.94, -7147.71, -6812.92, -6493.82, -6189.66,
        -5899.75, -5623.41, -5360.02, -5108.97, -4869.68, -4641.59, -4424.19, -4216.97, -4019.45, -3831.19,
        -3651.74, -3480.7, -3317.67, -3162.28, -3014.16, -2872.98, -2738.42, -2610.16, -2487.9, -2371.37,
        -2260.3, -2154.43, -2053.53, -1957.34, -1865.66, -1778.28, -1694.99, -1615.6, -1539.93, -1467.8,
        -1399.05, -1333.52, -1271.06, -1211.53, -1154.78, -1100.69, -1049.14, -1000.0, -953.162, -908.518,
        -865.964, -825.404, -786.744, -749.894, -714.771, -681.292, -649.382, -618.966, -589.975, -562.341,
        -536.002, -510.897, -486.968, -464.159, -442.419, -421.697, -401.945, -383.119, -365.174, -348.07,
        -331.767, -316.228, -301.416, -287.298, -273.842, -261.016, -248.79, -237.137, -226.03, -215.443,
        -205.353, -195.734, -186.566, -177.828, -169.499, -161.56, -153.993, -146.78, -139.905, -133.352,
        -127.106, -121.153, -115.478, -110.069, -104.914, -100.0, -95.3162, -90.8518, -86.5964, -82.5404,
        -78.6744, -74.9894, -71.4771, -68.1292, -64.9382, -61.8966, -58.9975, -56.2341, -53.6002, -51.0897,
        -48.6968, -46.4159, -44.2419, -42.1697, -40.1945, -38.3119, -36.5174, -34.807, -33.1767, -31.6228,
        -30.1416, -28.7298, -27.3842, -26.1016, -24.879, -23.7137, -22.603, -21.5443, -20.5353, -19.5734,
        -18.6566, -17.7828, -16.9499, -16.156, -15.3993, -14.678, -13.9905, -13.3352, -12.7106, -12.1153,
        -11.5478, -11.0069, -10.4914, -10.0, -9.53162, -9.08518, -8.65964, -8.25404, -7.86744, -7.49894,
        -7.14771, -6.81292, -6.49382, -6.18966, -5.89975, -5.62341, -5.36002, -5.10897, -4.86968, -4.64159,
        -4.42419, -4.21697, -4.01945, -3.83119, -3.65174, -3.4807, -3.31767, -3.16228, -3.01416, -2.87298,
        -2.73842, -2.61016, -2.4879, -2.37137, -2.2603, -2.15443, -2.05353, -1.95734, -1.86566, -1.77828,
        -1.69499, -1.6156, -1.53993, -1.4678, -1.39905, -1.33352, -1.27106, -1.21153, -1.15478, -1.10069,
        -1.04914, -1.0, -0.953162, -0.908518, -0.865964, -0.825404, -0.786744, -0.749894, -0.714771,
        -0.681292, -0.649382, -0.618966, -0.589975, -0.562341, -0.536002, -0.510897, -0.486968, -0.464159,
        -0.442419, -0.421697, -0.401945, -0.383119, -0.365174, -0.34807, -0.331767, -0.316228, -0.301416,
        -0.287298, -0.273842, -0.261016, -0.24879, -0.237137, -0.22603, -0.215443, -0.205353, -0.195734,
        -0.186566, -0.177828, -0.169499, -0.16156, -0.153993, -0.14678, -0.139905, -0.133352, -0.127106,
        -0.121153, -0.115478, -0.110069, -0.104914, -0.1, -0.0953162, -0.0908518, -0.0865964, -0.0825404,
        -0.0786744, -0.0749894, -0.0714771, -0.0681292, -0.0649382, -0.0618966, -0.0589975, -0.0562341,
        -0.0536002, -0.0510897, -0.0486968, -0.0464159, -0.0442419, -0.0421697, -0.0401945, -0.0383119,
        -0.0365174, -0.034807, -0.0331767, -0.0316228, -0.0301416, -0.0287298, -0.0273842, -0.0261016,
        -0.024879, -0.0237137, -0.022603, -0.0215443, -0.0205353, -0.0195734, -0.0186566, -0.0177828,
        -0.0169499, -0.016156, -0.0153993, -0.014678, -0.0139905, -0.0133352, -0.0127106, -0.0121153,
        -0.0115478, -0.0110069, -0.0104914, -0.01, -0.00953162, -0.00908518, -0.00865964, -0.00825404,
        -0.00786744, -0.00749894, -0.00714771, -0.00681292, -0.00649382, -0.00618966, -0.00589975,
        -0.00562341, -0.00536002, -0.00510897, -0.00486968, -0.00464159, -0.00442419, -0.00421697,
        -0.00401945, -0.00383119, -0.00365174, -0.0034807, -0.00331767, -0.00316228, -0.00301416, -0.00287298,
        -0.00273842, -0.00261016, -0.0024879, -0.00237137, -0.0022603, -0.00215443, -0.00205353, -0.00195734,
        -0.00186566, -0.00177828, -0.00169499, -0.0016156, -0.00153993, -0.0014678, -0.00139905, -0.00133352,
        -0.00127106, -0.00121153, -0.00115478, -0.00110069, -0.00104914, -0.001
    ]::float8[]) END
$$;

CREATE FUNCTION rollguard_merged(one bigint[], other bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(ARRAY[array_agg(bucket), array_agg(executions)], '{}') FROM (
        SELECT bucket, SUM(executions)::bigint AS executions FROM (
            SELECT * FROM unnest(one[1:1], one[2:2]) AS a (bucket, executions)
            UNION ALL
            SELECT * FROM unnest(other[1:1], other[2:2]) AS b (bucket, executions)
        ) AS added GROUP BY bucket
    ) AS merged
$$;

-- Notes what a statement inserted. Notes are only ever added, so writers never wait for each other.
CREATE OR REPLACE FUNCTION rollguard_note_executions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tool_execution_deltas
        (tool_name, version_number, minute, error_type, executions, successes, timed, duration_sum_ms, histogram)
    WITH counted AS (
        SELECT
            x.tool_name,
            COALESCE(x.version_number, 0) AS version_number,
            date_trunc('minute', x.executed_at, 'UTC') AS minute,
            CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END AS error_type,
            rollguard_bucket(x.duration_ms) AS bucket,
            COUNT(*) AS executions,
            COUNT(*) FILTER (WHERE x.success) AS successes,
            COALESCE(SUM(x.duration_ms), 0) AS duration_sum_ms
        FROM arrived x
        GROUP BY 1, 2, 3, 4, 5
    )
    SELECT
        tool_name,
        version_number,
        minute,
        error_type,
        SUM(executions),
        SUM(successes),
        SUM(CASE WHEN bucket >= 0 THEN executions ELSE 0 END),
        SUM(duration_sum_ms),
        COALESCE(ARRAY[array_agg(bucket::bigint) FILTER (WHERE bucket >= 0),
                       array_agg(executions::bigint) FILTER (WHERE bucket >= 0)], '{}')
    FROM counted
    GROUP BY tool_name, version_number, minute, error_type;
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT DISTINCT x.tool_name, x.request_id FROM arrived x WHERE x.request_id IS NOT NULL;
    PERFORM pg_notify('rollguard_executions', watched.tool_name)
    FROM (SELECT DISTINCT x.tool_name FROM arrived x) AS ran
    JOIN deployment_monitoring watched ON watched.tool_name = ran.tool_name AND watched.status = 'active';
    RETURN NULL;
END
$$;

-- An id that Rollguard made holds its execution's time, so the unique index that holds the time too is enough for it.
CREATE FUNCTION rollguard_time_of_id(execution_id text) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN execution_id ~ '^rg[01][0-9a-f]{29}$' THEN
        'epoch'::timestamptz + ('x' || substr(execution_id, 3, 14))::bit(56)::bigint * interval '1 microsecond' END
$$;

-- Stores an id once, for rows of other programs; our own bulk writes look after that themselves.
CREATE FUNCTION rollguard_store_once() RETURNS trigger LANGUAGE plpgsql AS $$
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

-- --- triggers --------------------------------------------------------------------------------------------------------

CREATE TRIGGER tool_executions_once BEFORE INSERT ON tool_executions FOR EACH ROW
WHEN (NEW.execution_id IS NOT NULL AND current_setting('rollguard.keyed', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION rollguard_store_once();

CREATE TRIGGER tool_executions_rollup AFTER INSERT ON tool_executions
REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT
WHEN (current_setting('rollguard.noted', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION rollguard_note_executions();

-- --- views -----------------------------------------------------------------------------------------------------------

-- A check that failed says nothing about the tool, so it does not hide what the check before it found.
CREATE VIEW active_monitoring AS
SELECT
    m.session_id,
    m.tool_name,
    m.version_number,
    m.deployment_time,
    m.monitoring_started_at,
    m.monitoring_window_hours,
    (EXTRACT(EPOCH FROM (now() - m.deployment_time)) / 3600.0)::float8 AS hours_elapsed,
    COALESCE(judged.regression_detected, FALSE) AS regression_detected,
    judged.regression_severity AS latest_regression_severity,
    judged.success_rate_drop AS latest_success_rate_drop,
    latest.verdict AS latest_verdict,
    latest.checked_at AS latest_check_at,
    (SELECT COUNT(*) FROM deployment_health_checks c WHERE c.session_id = m.session_id) AS check_count
FROM deployment_monitoring m
LEFT JOIN deployment_health_checks latest ON latest.check_id = (
    SELECT c.check_id FROM deployment_health_checks c
    WHERE c.session_id = m.session_id
    ORDER BY c.checked_at DESC, c.check_id DESC LIMIT 1)
LEFT JOIN deployment_health_checks judged ON judged.check_id = (
    SELECT c.check_id FROM deployment_health_checks c
    WHERE c.session_id = m.session_id AND COALESCE(c.verdict, '') <> 'error'
    ORDER BY c.checked_at DESC, c.check_id DESC LIMIT 1)
WHERE m.status = 'active';

CREATE VIEW tool_health_history AS
SELECT
    c.tool_name,
    c.session_id,
    c.check_id,
    c.checked_at,
    c.baseline_success_rate,
    c.baseline_total_executions,
    c.baseline_avg_duration_ms,
    c.baseline_p50_ms,
    c.baseline_p95_ms,
    c.baseline_p99_ms,
    c.current_success_rate,
    c.current_total_executions,
    c.current_avg_duration_ms,
    c.current_p50_ms,
    c.current_p95_ms,
    c.current_p99_ms,
    c.success_rate_drop,
    c.duration_change,
    c.performance_degradation,
    c.regression_detected,
    c.regression_severity,
    c.needs_rollback,
    c.verdict,
    m.deployment_time,
    m.status AS session_status
FROM deployment_health_checks c
LEFT JOIN deployment_monitoring m ON m.session_id = c.session_id;

-- Each session and its rollback is one row before anything is added up, so that nothing counts twice.
CREATE VIEW deployment_stability AS
SELECT
    d.tool_name,
    COUNT(*) AS total_deployments,
    SUM(d.rolled_back) AS total_rollbacks,
    CAST(SUM(d.rolled_back) AS FLOAT) / COUNT(*) AS rollback_rate,
    AVG(d.hours_to_rollback) AS avg_hours_to_rollback,
    AVG(d.last_success_rate) AS avg_post_deployment_success_rate
FROM (
    SELECT
        m.tool_name,
        CASE WHEN r.rollback_id IS NULL THEN 0 ELSE 1 END AS rolled_back,
        (EXTRACT(EPOCH FROM (r.rollback_time - m.deployment_time)) / 3600.0)::float8 AS hours_to_rollback,
        (SELECT c.current_success_rate FROM deployment_health_checks c
         WHERE c.session_id = m.session_id AND c.current_total_executions > 0
         ORDER BY c.checked_at DESC, c.check_id DESC LIMIT 1) AS last_success_rate
    FROM deployment_monitoring m
    LEFT JOIN deployment_rollbacks r ON r.session_id = m.session_id AND r.rollback_successful
) d
GROUP BY d.tool_name;

-- An execution that names a version counts for that version. One that names none counts for the version that was live
-- when it began: by the hours and minutes that lie whole within a deployment, and by the rows in the parts of a minute
-- at its ends. No execution is in two of these.
CREATE VIEW version_history_with_metrics AS
WITH lives AS (
    SELECT
        d.tool_name,
        d.version_number,
        d.from_at,
        d.to_at,
        date_trunc('minute', d.from_at + interval '1 minute' - interval '1 microsecond', 'UTC') AS from_minute,
        date_trunc('minute', d.to_at, 'UTC') AS to_minute,
        date_trunc('hour', d.from_at + interval '1 hour' - interval '1 microsecond', 'UTC') AS from_hour,
        date_trunc('hour', d.to_at, 'UTC') AS to_hour
    FROM (
        SELECT
            tool_name,
            version_number,
            deployed_at AS from_at,
            COALESCE(ended_at, TIMESTAMPTZ '9999-12-31 00:00:00+00') AS to_at
        FROM tool_deployments
    ) d
),
counted (tool_name, version_number, executions, successes, timed, duration_sum_ms) AS (
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_rollups x WHERE x.width = 3600 AND x.version_number > 0 GROUP BY 1, 2
    UNION ALL
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_deltas x WHERE x.version_number > 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 3600
     AND x.start_at >= l.from_hour AND x.start_at < l.to_hour AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= l.from_minute AND x.start_at < LEAST(l.from_hour, l.to_minute)
     AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= GREATEST(l.from_hour, l.to_hour) AND x.start_at < l.to_minute
     AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_deltas x CROSS JOIN lives l WHERE x.tool_name = l.tool_name
     AND x.minute >= l.from_minute AND x.minute < l.to_minute AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at >= l.from_at
     AND x.executed_at < LEAST(l.from_minute, l.to_at) AND x.version_number IS NULL GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at < l.to_at
     AND x.executed_at >= GREATEST(l.from_minute, l.to_minute) AND x.version_number IS NULL GROUP BY 1, 2
),
metrics AS (
    SELECT
        c.tool_name,
        c.version_number,
        SUM(c.executions) AS executions,
        SUM(c.successes) AS successes,
        SUM(c.timed) AS timed,
        SUM(c.duration_sum_ms) AS duration_sum_ms
    FROM counted c
    GROUP BY c.tool_name, c.version_number
),
deployed AS (
    SELECT
        d.tool_name,
        d.version_number,
        MAX(CASE WHEN d.ended_at IS NULL THEN 1 ELSE 0 END) AS live,
        COUNT(*) AS times,
        SUM(CASE WHEN d.kind = 'rollback' THEN 1 ELSE 0 END) AS restored,
        SUM(CASE WHEN d.ended_by = 'rollback' THEN 1 ELSE 0 END) AS rolled_back,
        MIN(d.deployed_at) AS first_at,
        MAX(d.deployed_at) AS last_at
    FROM tool_deployments d
    GROUP BY d.tool_name, d.version_number
)
SELECT
    v.tool_name,
    v.version_number,
    v.kind,
    v.created_by,
    v.created_at,
    v.reason,
    v.parent_version,
    v.sha256,
    COALESCE(d.live, 0) > 0 AS is_live,
    COALESCE(d.times, 0) AS times_deployed,
    COALESCE(d.restored, 0) AS times_restored,
    d.first_at AS first_deployed_at,
    d.last_at AS last_deployed_at,
    COALESCE(d.rolled_back, 0) > 0 AS was_rolled_back,
    CASE WHEN d.rolled_back > 0 THEN (
        SELECT r.reason FROM deployment_rollbacks r
        WHERE r.tool_name = v.tool_name AND r.from_version = v.version_number AND r.rollback_successful
        ORDER BY r.rollback_id DESC LIMIT 1) END AS rolled_back_reason,
    CAST(COALESCE(m.executions, 0) AS BIGINT) AS executions,
    CAST(COALESCE(m.successes, 0) AS BIGINT) AS successes,
    CASE WHEN m.executions > 0 THEN CAST(m.successes AS FLOAT) / CAST(m.executions AS FLOAT) END AS success_rate,
    CASE WHEN m.timed > 0 THEN CAST(m.duration_sum_ms AS FLOAT) / CAST(m.timed AS FLOAT) END AS avg_duration_ms
FROM tool_versions v
LEFT JOIN deployed d ON d.tool_name = v.tool_name AND d.version_number = v.version_number
LEFT JOIN metrics m ON m.tool_name = v.tool_name AND m.version_number = v.version_number;

CREATE VIEW version_stability AS
SELECT
    v.tool_name,
    COUNT(*) AS versions,
    SUM(CASE WHEN v.times > 0 THEN 1 ELSE 0 END) AS versions_deployed,
    SUM(CASE WHEN v.rolled_back > 0 THEN 1 ELSE 0 END) AS versions_rolled_back,
    CAST(COALESCE(SUM(v.deployed), 0) AS BIGINT) AS deployments,
    CAST(COALESCE(SUM(v.rolled_back), 0) AS BIGINT) AS rollbacks,
    CASE WHEN SUM(v.deployed) > 0
        THEN CAST(SUM(v.rolled_back) AS FLOAT) / CAST(SUM(v.deployed) AS FLOAT) END AS rollback_rate,
    CASE WHEN SUM(v.times) > 0
        THEN CAST(SUM(v.hours_live) AS FLOAT) / CAST(SUM(v.times) AS FLOAT) END AS avg_hours_live,
    MAX(v.live) AS current_version,
    MAX(v.live_since) AS current_since
FROM (
    SELECT
        t.tool_name,
        t.version_number,
        COUNT(d.deployment_id) AS times,
        SUM(CASE WHEN d.kind = 'deployment' THEN 1 ELSE 0 END) AS deployed,
        SUM(CASE WHEN d.ended_by = 'rollback' THEN 1 ELSE 0 END) AS rolled_back,
        SUM((EXTRACT(EPOCH FROM (COALESCE(d.ended_at, now()) - d.deployed_at)) / 3600.0)::float8) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN tool_deployments d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name;

-- 0017: The table of watchers: a sign of life of each running loop.

CREATE TABLE watchers (
    watcher_id VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    checked_at TIMESTAMP WITH TIME ZONE,
    interval_seconds FLOAT NOT NULL,
    reported_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_watchers PRIMARY KEY (watcher_id)
);

COMMENT ON COLUMN watchers.seen_at IS 'its latest sign of life, by the clock of the database';

COMMENT ON COLUMN watchers.checked_at IS 'when it last finished a cycle over the sessions';

COMMENT ON COLUMN watchers.reported_at IS 'when people were notified that it is silent or behind';

-- 0019: Sessions keep what their baseline does not count, and the counts of earlier good versions.

ALTER TABLE deployment_monitoring ADD COLUMN left_out TEXT, ADD COLUMN earlier_versions TEXT, ADD COLUMN creeping TEXT;

COMMENT ON COLUMN deployment_monitoring.left_out IS 'JSON: what the baseline does not count, once a check found it';

COMMENT ON COLUMN deployment_monitoring.earlier_versions IS 'JSON: the counts of the tool''s earlier good versions';

COMMENT ON COLUMN deployment_monitoring.creeping IS
    'than which earlier version it was first found worse, a little with each version';

-- 0021: Calls in flight, since when hangs are recorded, and a view without what is neither success nor failure.

ALTER TABLE deployment_health_checks ADD COLUMN silent_since TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN deployment_health_checks.silent_since IS 'the last call before a silence';

CREATE TABLE calls_in_flight (
    process_id VARCHAR(255) NOT NULL,
    number INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    began_at TIMESTAMP WITH TIME ZONE NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_calls_in_flight PRIMARY KEY (process_id, number)
);

CREATE TABLE failure_definitions (
    tool_name VARCHAR(255) NOT NULL,
    timeout_seconds FLOAT,
    in_force_since TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_failure_definitions PRIMARY KEY (tool_name)
);

COMMENT ON TABLE calls_in_flight IS 'calls that run for some seconds and have not ended';

COMMENT ON COLUMN calls_in_flight.process_id IS 'unique for each run of a process';

COMMENT ON COLUMN calls_in_flight.seen_at IS 'by the clock of the database';

COMMENT ON TABLE failure_definitions IS 'since when a tool''s hangs are recorded, by which limit';

COMMENT ON COLUMN failure_definitions.timeout_seconds IS 'calls that run longer are failures; NULL sets no limit';

COMMENT ON COLUMN failure_definitions.in_force_since IS 'executions from then on are recorded so';

-- As before, without executions that are neither successes nor failures.
CREATE OR REPLACE VIEW version_history_with_metrics AS
WITH lives AS (
    SELECT
        d.tool_name,
        d.version_number,
        d.from_at,
        d.to_at,
        date_trunc('minute', d.from_at + interval '1 minute' - interval '1 microsecond', 'UTC') AS from_minute,
        date_trunc('minute', d.to_at, 'UTC') AS to_minute,
        date_trunc('hour', d.from_at + interval '1 hour' - interval '1 microsecond', 'UTC') AS from_hour,
        date_trunc('hour', d.to_at, 'UTC') AS to_hour
    FROM (
        SELECT
            tool_name,
            version_number,
            deployed_at AS from_at,
            COALESCE(ended_at, TIMESTAMPTZ '9999-12-31 00:00:00+00') AS to_at
        FROM tool_deployments
    ) d
),
counted (tool_name, version_number, executions, successes, timed, duration_sum_ms) AS (
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_rollups x WHERE x.width = 3600 AND x.version_number > 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_deltas x WHERE x.version_number > 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 3600
     AND x.start_at >= l.from_hour AND x.start_at < l.to_hour AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= l.from_minute AND x.start_at < LEAST(l.from_hour, l.to_minute)
     AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= GREATEST(l.from_hour, l.to_hour) AND x.start_at < l.to_minute
     AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_deltas x CROSS JOIN lives l WHERE x.tool_name = l.tool_name
     AND x.minute >= l.from_minute AND x.minute < l.to_minute AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at >= l.from_at
     AND x.executed_at < LEAST(l.from_minute, l.to_at) AND x.version_number IS NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at < l.to_at
     AND x.executed_at >= GREATEST(l.from_minute, l.to_minute) AND x.version_number IS NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
),
metrics AS (
    SELECT
        c.tool_name,
        c.version_number,
        SUM(c.executions) AS executions,
        SUM(c.successes) AS successes,
        SUM(c.timed) AS timed,
        SUM(c.duration_sum_ms) AS duration_sum_ms
    FROM counted c
    GROUP BY c.tool_name, c.version_number
),
deployed AS (
    SELECT
        d.tool_name,
        d.version_number,
        MAX(CASE WHEN d.ended_at IS NULL THEN 1 ELSE 0 END) AS live,
        COUNT(*) AS times,
        SUM(CASE WHEN d.kind = 'rollback' THEN 1 ELSE 0 END) AS restored,
        SUM(CASE WHEN d.ended_by = 'rollback' THEN 1 ELSE 0 END) AS rolled_back,
        MIN(d.deployed_at) AS first_at,
        MAX(d.deployed_at) AS last_at
    FROM tool_deployments d
    GROUP BY d.tool_name, d.version_number
)
SELECT
    v.tool_name,
    v.version_number,
    v.kind,
    v.created_by,
    v.created_at,
    v.reason,
    v.parent_version,
    v.sha256,
    COALESCE(d.live, 0) > 0 AS is_live,
    COALESCE(d.times, 0) AS times_deployed,
    COALESCE(d.restored, 0) AS times_restored,
    d.first_at AS first_deployed_at,
    d.last_at AS last_deployed_at,
    COALESCE(d.rolled_back, 0) > 0 AS was_rolled_back,
    CASE WHEN d.rolled_back > 0 THEN (
        SELECT r.reason FROM deployment_rollbacks r
        WHERE r.tool_name = v.tool_name AND r.from_version = v.version_number AND r.rollback_successful
        ORDER BY r.rollback_id DESC LIMIT 1) END AS rolled_back_reason,
    CAST(COALESCE(m.executions, 0) AS BIGINT) AS executions,
    CAST(COALESCE(m.successes, 0) AS BIGINT) AS successes,
    CASE WHEN m.executions > 0 THEN CAST(m.successes AS FLOAT) / CAST(m.executions AS FLOAT) END AS success_rate,
    CASE WHEN m.timed > 0 THEN CAST(m.duration_sum_ms AS FLOAT) / CAST(m.timed AS FLOAT) END AS avg_duration_ms
FROM tool_versions v
LEFT JOIN deployed d ON d.tool_name = v.tool_name AND d.version_number = v.version_number
LEFT JOIN metrics m ON m.tool_name = v.tool_name AND m.version_number = v.version_number;

-- 0023: Which deployments are edits of a file in the folder, and when the saves began that they belong to.

ALTER TABLE tool_deployments ADD COLUMN edit_began_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN tool_deployments.edit_began_at IS 'of an edit in the folder: when the first of its saves was served';

-- 0025: The callers' own tags of executions.

ALTER TABLE tool_executions ADD COLUMN tags TEXT
    CONSTRAINT ck_tool_executions_tags CHECK (jsonb_typeof(tags::jsonb) = 'object');

COMMENT ON COLUMN tool_executions.tags IS 'JSON: the caller''s own tags of the call';

-- 0027: Where a call failed, and what was found out about it.

ALTER TABLE tool_executions ADD COLUMN failed_at TEXT
    CONSTRAINT ck_tool_executions_failed_at CHECK (jsonb_typeof(failed_at::jsonb) = 'object');

ALTER TABLE tool_executions ADD COLUMN traceback TEXT;

COMMENT ON COLUMN tool_executions.failed_at IS 'JSON: function, line and text of the innermost line of the tool''s own code';

CREATE TABLE investigation_reports (
    report_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    calls INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    cause_kind VARCHAR(20) NOT NULL,
    cause TEXT NOT NULL,
    report TEXT NOT NULL,
    CONSTRAINT pk_investigation_reports PRIMARY KEY (report_id)
);

COMMENT ON TABLE investigation_reports IS 'what was found out about why a tool fails';

COMMENT ON COLUMN investigation_reports.version_number IS 'the version that was investigated; NULL is every one';

COMMENT ON COLUMN investigation_reports.cause IS 'the first cause in words';

COMMENT ON COLUMN investigation_reports.report IS 'JSON: the whole report';

CREATE INDEX ix_investigation_reports_tool_name ON investigation_reports (tool_name, report_id);

-- 0029: Releases: one or several tools that go live together under a label, and are rolled back as one.

CREATE TABLE releases (
    release_id SERIAL NOT NULL,
    label VARCHAR(128) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    state VARCHAR(20) DEFAULT 'live' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    reason TEXT,
    released_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_releases PRIMARY KEY (release_id),
    CONSTRAINT uq_releases_label UNIQUE (label),
    CONSTRAINT ck_releases_kind CHECK (kind IN ('tools', 'program')),
    CONSTRAINT ck_releases_state CHECK (state IN ('live', 'rolled_back'))
);

CREATE TABLE release_tools (
    release_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    before_version INTEGER,
    changed BOOLEAN NOT NULL,
    way_back BOOLEAN NOT NULL,
    CONSTRAINT pk_release_tools PRIMARY KEY (release_id, tool_name)
);

CREATE INDEX ix_release_tools_tool_name ON release_tools (tool_name, version_number);

ALTER TABLE tool_deployments ADD COLUMN release_id INTEGER;

ALTER TABLE deployment_monitoring ADD COLUMN release_id INTEGER;

ALTER TABLE deployment_rollbacks ADD COLUMN release_id INTEGER;

COMMENT ON COLUMN tool_deployments.release_id IS 'the release that it belongs to';

COMMENT ON COLUMN deployment_monitoring.release_id IS 'the release that the deployment belongs to';

COMMENT ON COLUMN deployment_rollbacks.release_id IS 'the release that is rolled back as one';

COMMENT ON COLUMN releases.kind IS 'tools of a folder or of targets, or functions of a program';

COMMENT ON COLUMN releases.metadata IS 'JSON object: the caller''s own';

COMMENT ON COLUMN release_tools.before_version IS 'what was live before; NULL if the release added the tool';

COMMENT ON COLUMN release_tools.way_back IS 'whether a rollback can put an earlier version in its place';

CREATE INDEX ix_tool_deployments_release_id ON tool_deployments (release_id) WHERE release_id IS NOT NULL;

CREATE INDEX ix_deployment_rollbacks_withdrawn ON deployment_rollbacks (tool_name)
    WHERE state = 'finished' AND to_version IS NULL;

-- As before; what is rolled back with a release, for another tool's sake, is no rollback of the tool.
CREATE OR REPLACE VIEW version_stability AS
SELECT
    v.tool_name,
    COUNT(*) AS versions,
    SUM(CASE WHEN v.times > 0 THEN 1 ELSE 0 END) AS versions_deployed,
    SUM(CASE WHEN v.rolled_back > 0 THEN 1 ELSE 0 END) AS versions_rolled_back,
    CAST(COALESCE(SUM(v.deployed), 0) AS BIGINT) AS deployments,
    CAST(COALESCE(SUM(v.rolled_back), 0) AS BIGINT) AS rollbacks,
    CASE WHEN SUM(v.deployed) > 0
        THEN CAST(SUM(v.rolled_back) AS FLOAT) / CAST(SUM(v.deployed) AS FLOAT) END AS rollback_rate,
    CASE WHEN SUM(v.times) > 0
        THEN CAST(SUM(v.hours_live) AS FLOAT) / CAST(SUM(v.times) AS FLOAT) END AS avg_hours_live,
    MAX(v.live) AS current_version,
    MAX(v.live_since) AS current_since
FROM (
    SELECT
        t.tool_name,
        t.version_number,
        COUNT(d.deployment_id) AS times,
        SUM(CASE WHEN d.kind = 'deployment' THEN 1 ELSE 0 END) AS deployed,
        SUM(CASE WHEN d.ended_by = 'rollback' AND NOT EXISTS (
            SELECT 1 FROM deployment_rollbacks r
            WHERE r.tool_name = d.tool_name AND r.from_version = d.version_number AND r.rollback_time = d.ended_at
             AND r.release_id IS NOT NULL AND r.session_id IS NULL AND r.rollback_type <> 'manual'
            ) THEN 1 ELSE 0 END) AS rolled_back,
        SUM((EXTRACT(EPOCH FROM (COALESCE(d.ended_at, now()) - d.deployed_at)) / 3600.0)::float8) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN tool_deployments d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name;

-- 0031: What rehearsals found, and views of it.

CREATE TABLE shadow_test_results (
    test_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    candidate_sha256 VARCHAR(64) NOT NULL,
    test_count INTEGER NOT NULL,
    agreements INTEGER NOT NULL,
    disagreements INTEGER NOT NULL,
    agreement_rate FLOAT,
    passed BOOLEAN NOT NULL,
    differences TEXT NOT NULL,
    errors TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_shadow_test_results PRIMARY KEY (test_id),
    CONSTRAINT ck_shadow_test_results_counts CHECK (agreements + disagreements = test_count)
);

CREATE INDEX ix_shadow_test_results_tool_name_completed_at ON shadow_test_results (tool_name, completed_at);

CREATE TABLE replay_test_results (
    test_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    candidate_sha256 VARCHAR(64) NOT NULL,
    replay_count INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    success_rate FLOAT,
    passed BOOLEAN NOT NULL,
    improvements_count INTEGER NOT NULL,
    regressions_count INTEGER NOT NULL,
    differences TEXT NOT NULL,
    errors TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_replay_test_results PRIMARY KEY (test_id),
    CONSTRAINT ck_replay_test_results_counts CHECK (successes + failures = replay_count)
);

CREATE INDEX ix_replay_test_results_tool_name_completed_at ON replay_test_results (tool_name, completed_at);

COMMENT ON COLUMN shadow_test_results.agreement_rate IS 'agreements / test_count';

COMMENT ON COLUMN shadow_test_results.differences IS 'JSON list: the inputs with another outcome, and both outcomes';

COMMENT ON COLUMN shadow_test_results.errors IS 'JSON list: why it did not pass, in words';

COMMENT ON COLUMN replay_test_results.success_rate IS 'successes / replay_count';

COMMENT ON COLUMN replay_test_results.improvements_count IS 'calls that failed when they were recorded';

COMMENT ON COLUMN replay_test_results.regressions_count IS 'calls that succeeded when they were recorded';

COMMENT ON COLUMN replay_test_results.differences IS 'JSON list: the inputs with another outcome, and both outcomes';

COMMENT ON COLUMN replay_test_results.errors IS 'JSON list: why it did not pass, in words';

CREATE VIEW tool_testing_history AS
SELECT
    'shadow' AS kind,
    test_id,
    tool_name,
    candidate_sha256,
    test_count,
    agreement_rate AS rate,
    passed,
    started_at,
    completed_at
FROM shadow_test_results
UNION ALL
SELECT
    'replay' AS kind,
    test_id,
    tool_name,
    candidate_sha256,
    replay_count AS test_count,
    success_rate AS rate,
    passed,
    started_at,
    completed_at
FROM replay_test_results;

CREATE VIEW testing_summary AS
SELECT
    tool_name,
    CAST(SUM(CASE WHEN kind = 'shadow' THEN 1 ELSE 0 END) AS INTEGER) AS shadow_tests,
    CAST(SUM(CASE WHEN kind = 'shadow' AND passed THEN 1 ELSE 0 END) AS INTEGER) AS shadow_tests_passed,
    CAST(SUM(CASE WHEN kind = 'replay' THEN 1 ELSE 0 END) AS INTEGER) AS replay_tests,
    CAST(SUM(CASE WHEN kind = 'replay' AND passed THEN 1 ELSE 0 END) AS INTEGER) AS replay_tests_passed,
    MAX(completed_at) AS last_tested_at
FROM tool_testing_history
GROUP BY tool_name;

-- 0033: Scores of answers, and histograms that count them.

ALTER TABLE tool_executions ADD COLUMN score FLOAT
    CONSTRAINT ck_tool_executions_score CHECK (score >= 0 AND score <= 1);

COMMENT ON COLUMN tool_executions.score IS 'how right the answer was, 0 to 1';

ALTER TABLE superseded_executions ADD COLUMN score FLOAT;

-- The place of a score: 2 k for k/100, 2 k + 1 between k/100 and (k+1)/100.
CREATE FUNCTION rollguard_score_bucket(score float8) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN round($1 * 100) / 100 = $1 THEN 2 * round($1 * 100) ELSE 2 * floor($1 * 100) + 1 END::integer
$$;

-- As before, and with the scores: in a histogram they are the buckets from 5000 on, which count no executions.
CREATE OR REPLACE FUNCTION rollguard_note_executions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tool_execution_deltas
        (tool_name, version_number, minute, error_type, executions, successes, timed, duration_sum_ms, histogram)
    WITH x AS (
        SELECT
            tool_name,
            COALESCE(version_number, 0) AS version_number,
            date_trunc('minute', executed_at, 'UTC') AS minute,
            CASE WHEN success THEN '' ELSE COALESCE(error_type, '') END AS error_type,
            success,
            duration_ms,
            score
        FROM arrived
    ),
    counted AS (
        SELECT
            x.tool_name,
            x.version_number,
            x.minute,
            x.error_type,
            rollguard_bucket(x.duration_ms) AS bucket,
            COUNT(*) AS in_bucket,
            COUNT(*) AS executions,
            COUNT(*) FILTER (WHERE x.success) AS successes,
            COALESCE(SUM(x.duration_ms), 0) AS duration_sum_ms
        FROM x
        GROUP BY 1, 2, 3, 4, 5
        UNION ALL
        SELECT x.tool_name, x.version_number, x.minute, x.error_type, 5000 + rollguard_score_bucket(x.score),
               COUNT(*), 0, 0, 0
        FROM x
        WHERE x.score IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5
    )
    SELECT
        tool_name,
        version_number,
        minute,
        error_type,
        SUM(executions),
        SUM(successes),
        SUM(CASE WHEN bucket >= 0 THEN executions ELSE 0 END),
        SUM(duration_sum_ms),
        COALESCE(ARRAY[array_agg(bucket::bigint) FILTER (WHERE bucket >= 0),
                       array_agg(in_bucket::bigint) FILTER (WHERE bucket >= 0)], '{}')
    FROM counted
    GROUP BY tool_name, version_number, minute, error_type;
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT DISTINCT x.tool_name, x.request_id FROM arrived x WHERE x.request_id IS NOT NULL;
    PERFORM pg_notify('rollguard_executions', watched.tool_name)
    FROM (SELECT DISTINCT x.tool_name FROM arrived x) AS ran
    JOIN deployment_monitoring watched ON watched.tool_name = ran.tool_name AND watched.status = 'active';
    RETURN NULL;
END
$$;

-- 0035: Rollouts: two versions of a tool serve at once, and each execution says which of them was drawn for it.

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

COMMENT ON COLUMN deployment_rollbacks.rollout_id IS 'the rollout that it ended, in which the restored version served all along';

-- 0037: How often the executions of a rollup were amended.

ALTER TABLE tool_execution_rollups ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN tool_execution_rollups.amended IS 'how often what is counted here was amended';

ALTER TABLE tool_execution_deltas ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN tool_execution_deltas.amended IS 'how often what is counted here was amended';

-- As before, and a rollout counts as one deployment: one that was promoted by its deployment, any other by itself.
CREATE OR REPLACE VIEW version_history_with_metrics AS
WITH lives AS (
    SELECT
        d.tool_name,
        d.version_number,
        d.from_at,
        d.to_at,
        date_trunc('minute', d.from_at + interval '1 minute' - interval '1 microsecond', 'UTC') AS from_minute,
        date_trunc('minute', d.to_at, 'UTC') AS to_minute,
        date_trunc('hour', d.from_at + interval '1 hour' - interval '1 microsecond', 'UTC') AS from_hour,
        date_trunc('hour', d.to_at, 'UTC') AS to_hour
    FROM (
        SELECT
            tool_name,
            version_number,
            deployed_at AS from_at,
            COALESCE(ended_at, TIMESTAMPTZ '9999-12-31 00:00:00+00') AS to_at
        FROM tool_deployments
    ) d
),
counted (tool_name, version_number, executions, successes, timed, duration_sum_ms) AS (
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_rollups x WHERE x.width = 3600 AND x.version_number > 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_deltas x WHERE x.version_number > 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 3600
     AND x.start_at >= l.from_hour AND x.start_at < l.to_hour AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= l.from_minute AND x.start_at < LEAST(l.from_hour, l.to_minute)
     AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= GREATEST(l.from_hour, l.to_hour) AND x.start_at < l.to_minute
     AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_deltas x CROSS JOIN lives l WHERE x.tool_name = l.tool_name
     AND x.minute >= l.from_minute AND x.minute < l.to_minute AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at >= l.from_at
     AND x.executed_at < LEAST(l.from_minute, l.to_at) AND x.version_number IS NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at < l.to_at
     AND x.executed_at >= GREATEST(l.from_minute, l.to_minute) AND x.version_number IS NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
),
metrics AS (
    SELECT
        c.tool_name,
        c.version_number,
        SUM(c.executions) AS executions,
        SUM(c.successes) AS successes,
        SUM(c.timed) AS timed,
        SUM(c.duration_sum_ms) AS duration_sum_ms
    FROM counted c
    GROUP BY c.tool_name, c.version_number
),
deployed AS (
    SELECT
        d.tool_name,
        d.version_number,
        MAX(CASE WHEN d.ended_at IS NULL THEN 1 ELSE 0 END) AS live,
        COUNT(*) AS times,
        SUM(CASE WHEN d.kind = 'rollback' THEN 1 ELSE 0 END) AS restored,
        SUM(CASE WHEN d.ended_by = 'rollback' THEN 1 ELSE 0 END) AS rolled_back,
        MIN(d.deployed_at) AS first_at,
        MAX(d.deployed_at) AS last_at
    FROM (
        SELECT deployment_id, tool_name, version_number, deployed_at, ended_at, ended_by, kind FROM tool_deployments
        UNION ALL
        SELECT -rollout_id, tool_name, new_version, started_at, COALESCE(ended_at, now()),
            CASE WHEN state = 'rolled_back' THEN 'rollback' END, 'deployment'
        FROM rollouts WHERE kind = 'canary' AND state <> 'promoted'
    ) d
    GROUP BY d.tool_name, d.version_number
)
SELECT
    v.tool_name,
    v.version_number,
    v.kind,
    v.created_by,
    v.created_at,
    v.reason,
    v.parent_version,
    v.sha256,
    COALESCE(d.live, 0) > 0 AS is_live,
    COALESCE(d.times, 0) AS times_deployed,
    COALESCE(d.restored, 0) AS times_restored,
    d.first_at AS first_deployed_at,
    d.last_at AS last_deployed_at,
    COALESCE(d.rolled_back, 0) > 0 AS was_rolled_back,
    CASE WHEN d.rolled_back > 0 THEN (
        SELECT r.reason FROM deployment_rollbacks r
        WHERE r.tool_name = v.tool_name AND r.from_version = v.version_number AND r.rollback_successful
        ORDER BY r.rollback_id DESC LIMIT 1) END AS rolled_back_reason,
    CAST(COALESCE(m.executions, 0) AS BIGINT) AS executions,
    CAST(COALESCE(m.successes, 0) AS BIGINT) AS successes,
    CASE WHEN m.executions > 0 THEN CAST(m.successes AS FLOAT) / CAST(m.executions AS FLOAT) END AS success_rate,
    CASE WHEN m.timed > 0 THEN CAST(m.duration_sum_ms AS FLOAT) / CAST(m.timed AS FLOAT) END AS avg_duration_ms
FROM tool_versions v
LEFT JOIN deployed d ON d.tool_name = v.tool_name AND d.version_number = v.version_number
LEFT JOIN metrics m ON m.tool_name = v.tool_name AND m.version_number = v.version_number;

-- As above.
CREATE OR REPLACE VIEW version_stability AS
SELECT
    v.tool_name,
    COUNT(*) AS versions,
    SUM(CASE WHEN v.times > 0 THEN 1 ELSE 0 END) AS versions_deployed,
    SUM(CASE WHEN v.rolled_back > 0 THEN 1 ELSE 0 END) AS versions_rolled_back,
    CAST(COALESCE(SUM(v.deployed), 0) AS BIGINT) AS deployments,
    CAST(COALESCE(SUM(v.rolled_back), 0) AS BIGINT) AS rollbacks,
    CASE WHEN SUM(v.deployed) > 0
        THEN CAST(SUM(v.rolled_back) AS FLOAT) / CAST(SUM(v.deployed) AS FLOAT) END AS rollback_rate,
    CASE WHEN SUM(v.times) > 0
        THEN CAST(SUM(v.hours_live) AS FLOAT) / CAST(SUM(v.times) AS FLOAT) END AS avg_hours_live,
    MAX(v.live) AS current_version,
    MAX(v.live_since) AS current_since
FROM (
    SELECT
        t.tool_name,
        t.version_number,
        COUNT(d.deployment_id) AS times,
        SUM(CASE WHEN d.kind = 'deployment' THEN 1 ELSE 0 END) AS deployed,
        SUM(CASE WHEN d.ended_by = 'rollback' AND NOT EXISTS (
            SELECT 1 FROM deployment_rollbacks r
            WHERE r.tool_name = d.tool_name AND r.from_version = d.version_number AND r.rollback_time = d.ended_at
             AND r.release_id IS NOT NULL AND r.session_id IS NULL AND r.rollback_type <> 'manual'
            ) THEN 1 ELSE 0 END) AS rolled_back,
        SUM((EXTRACT(EPOCH FROM (COALESCE(d.ended_at, now()) - d.deployed_at)) / 3600.0)::float8) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN (
        SELECT deployment_id, tool_name, version_number, deployed_at, ended_at, ended_by, kind FROM tool_deployments
        UNION ALL
        SELECT -rollout_id, tool_name, new_version, started_at, COALESCE(ended_at, now()),
            CASE WHEN state = 'rolled_back' THEN 'rollback' END, 'deployment'
        FROM rollouts WHERE kind = 'canary' AND state <> 'promoted'
    ) d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name;

-- 0039: The autonomous loop: attempts to improve tools, their events, and counters.

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

COMMENT ON COLUMN improvement_events.event IS 'the transition, or find, freeze and unfreeze';

-- 0041: Tokens of the service.

CREATE TABLE service_tokens (
    token_id SERIAL NOT NULL,
    name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    scopes TEXT NOT NULL,
    tools TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_service_tokens PRIMARY KEY (token_id),
    CONSTRAINT uq_service_tokens_sha256 UNIQUE (sha256)
);

COMMENT ON TABLE service_tokens IS 'who may use the service, and for what';

COMMENT ON COLUMN service_tokens.name IS 'who holds it';

COMMENT ON COLUMN service_tokens.sha256 IS 'of the secret, which is stored nowhere';

COMMENT ON COLUMN service_tokens.scopes IS 'JSON list: ingest, read, operate, approve';

COMMENT ON COLUMN service_tokens.tools IS 'JSON list: the tools it may record; empty is every tool';

-- 0043: Spans of OpenTelemetry that may be one call, and calls that are not judged because of how they were sampled.

CREATE TABLE otlp_spans (
    trace_id VARCHAR(32) NOT NULL,
    span_id VARCHAR(16) NOT NULL,
    parent_id VARCHAR(16),
    due_at TIMESTAMPTZ NOT NULL,
    call TEXT,
    execution TEXT,
    failed TEXT,
    CONSTRAINT pk_otlp_spans PRIMARY KEY (trace_id, span_id)
);

CREATE INDEX ix_otlp_spans_due_at ON otlp_spans (due_at);

CREATE INDEX ix_otlp_spans_waiting ON otlp_spans (due_at) WHERE execution IS NOT NULL;

COMMENT ON TABLE otlp_spans IS
    'spans of calls that several spans may be of, for the minutes in which others may arrive';
COMMENT ON COLUMN otlp_spans.parent_id IS ''''' for none; NULL while only a log is known';
COMMENT ON COLUMN otlp_spans.due_at IS 'when it is no longer waited for other spans of the call';
COMMENT ON COLUMN otlp_spans.call IS 'JSON: of which call it is a span; NULL for any other span';
COMMENT ON COLUMN otlp_spans.execution IS 'JSON: what is recorded of it; NULL once the call is recorded';
COMMENT ON COLUMN otlp_spans.failed IS 'JSON: the exception that was logged within it';

-- As before, and without the calls that are not judged because of how they were sampled.
DO $$
DECLARE
    before text := pg_get_viewdef('version_history_with_metrics'::regclass);
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW version_history_with_metrics AS ' || regexp_replace(
        before, '''ControlFlow''(::[a-z ]+)', '''ControlFlow''\1, ''TailSampled''\1', 'g'
    );
END $$;

INSERT INTO rollguard_schema_version (version_num) VALUES ('0043');

COMMIT;
