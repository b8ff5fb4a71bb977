-- The schema of a SQLite store. Statements are separated by empty lines.

-- --- tables ----------------------------------------------------------------------------------------------------------

CREATE TABLE tool_executions (
    id INTEGER NOT NULL,
    execution_id VARCHAR(255),
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    success BOOLEAN NOT NULL,
    duration_ms FLOAT,
    error_type VARCHAR(255),
    error TEXT,
    parameters TEXT,
    result TEXT,
    executed_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    request_id VARCHAR(255),
    CONSTRAINT pk_tool_executions PRIMARY KEY (id),
    CONSTRAINT uq_tool_executions_execution_id UNIQUE (execution_id),
    CONSTRAINT ck_tool_executions_duration CHECK (duration_ms >= 0)
);

CREATE INDEX ix_tool_executions_tool_name_executed_at ON tool_executions (tool_name, executed_at);

CREATE INDEX ix_tool_executions_failed ON tool_executions (tool_name, executed_at) WHERE success = 0;

CREATE INDEX ix_tool_executions_request_id ON tool_executions (tool_name, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE superseded_executions (
    id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    success BOOLEAN NOT NULL,
    duration_ms FLOAT,
    error_type VARCHAR(255),
    executed_at DATETIME NOT NULL,
    CONSTRAINT pk_superseded_executions PRIMARY KEY (id)
);

CREATE INDEX ix_superseded_executions_tool_name ON superseded_executions (tool_name, executed_at);

CREATE TABLE tool_execution_rollups (
    tool_name VARCHAR(255) NOT NULL,
    width INTEGER NOT NULL,
    start_at DATETIME NOT NULL,
    version_number INTEGER NOT NULL,
    error_type VARCHAR(255) DEFAULT '' NOT NULL,
    executions BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    timed BIGINT NOT NULL,
    duration_sum_ms FLOAT NOT NULL,
    histogram TEXT NOT NULL,
    CONSTRAINT pk_tool_execution_rollups PRIMARY KEY (tool_name, width, start_at, version_number, error_type)
) WITHOUT ROWID;

CREATE TABLE tool_execution_deltas (
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    minute DATETIME NOT NULL,
    error_type VARCHAR(255) DEFAULT '' NOT NULL,
    executions BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    timed BIGINT NOT NULL,
    duration_sum_ms FLOAT NOT NULL,
    histogram TEXT NOT NULL
);

CREATE TABLE tool_version_starts (
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    first_hour DATETIME NOT NULL,
    CONSTRAINT pk_tool_version_starts PRIMARY KEY (tool_name, version_number)
) WITHOUT ROWID;

CREATE TABLE rollup_state (
    only_row INTEGER NOT NULL,
    rolled_to BIGINT NOT NULL,
    CONSTRAINT pk_rollup_state PRIMARY KEY (only_row),
    CONSTRAINT ck_rollup_state_only_row CHECK (only_row = 1)
);

CREATE TABLE tool_versions (
    version_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    code BLOB NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    reason TEXT,
    parent_version INTEGER,
    created_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    CONSTRAINT pk_tool_versions PRIMARY KEY (version_id),
    CONSTRAINT uq_tool_versions_tool_name_version_number UNIQUE (tool_name, version_number),
    CONSTRAINT uq_tool_versions_tool_name_sha256 UNIQUE (tool_name, sha256),
    CONSTRAINT ck_tool_versions_number CHECK (version_number >= 1),
    CONSTRAINT ck_tool_versions_kind
        CHECK (kind IN ('initial', 'bugfix', 'enhancement', 'improvement', 'edit', 'rollback'))
);

CREATE TABLE tool_deployments (
    deployment_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    deployed_at DATETIME NOT NULL,
    deployed_by VARCHAR(255) NOT NULL,
    reason TEXT,
    ended_at DATETIME,
    ended_by VARCHAR(20),
    kind VARCHAR(20) DEFAULT 'deployment' NOT NULL,
    CONSTRAINT pk_tool_deployments PRIMARY KEY (deployment_id),
    CONSTRAINT ck_tool_deployments_ended CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CONSTRAINT ck_tool_deployments_ended_by CHECK (ended_by IN ('deployment', 'rollback')),
    CONSTRAINT ck_tool_deployments_kind CHECK (kind IN ('deployment', 'rollback'))
);

CREATE INDEX ix_tool_deployments_tool_name ON tool_deployments (tool_name, deployment_id);

CREATE UNIQUE INDEX uq_tool_deployments_live ON tool_deployments (tool_name) WHERE ended_at IS NULL;

CREATE TABLE quarantined_code (
    quarantine_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    version_number INTEGER NOT NULL,
    rollback_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    quarantined_at DATETIME NOT NULL,
    noticed_at DATETIME,
    lifted_at DATETIME,
    lifted_by VARCHAR(255),
    CONSTRAINT pk_quarantined_code PRIMARY KEY (quarantine_id),
    CONSTRAINT ck_quarantined_code_lifted CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);

CREATE UNIQUE INDEX uq_quarantined_code_in_force ON quarantined_code (tool_name, sha256) WHERE lifted_at IS NULL;

CREATE TABLE tool_actuations (
    tool_name VARCHAR(255) NOT NULL,
    sequence BIGINT NOT NULL,
    held_by VARCHAR(255),
    held_until DATETIME,
    unsettled_since DATETIME,
    attempts INTEGER DEFAULT 0 NOT NULL,
    next_attempt_at DATETIME,
    last_error TEXT,
    CONSTRAINT pk_tool_actuations PRIMARY KEY (tool_name)
);

CREATE TABLE deployment_monitoring (
    session_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    deployment_time DATETIME NOT NULL,
    monitoring_started_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    monitoring_window_hours INTEGER DEFAULT 24 NOT NULL,
    baseline_window_days INTEGER DEFAULT 7 NOT NULL,
    regression_threshold FLOAT DEFAULT (0.15) NOT NULL,
    status VARCHAR(50) DEFAULT 'active' NOT NULL,
    completed_at DATETIME,
    notes TEXT,
    version_number INTEGER,
    live_before DATETIME,
    outcome VARCHAR(20),
    baseline TEXT,
    baseline_notes TEXT,
    watched_by VARCHAR(255),
    watched_until DATETIME,
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

CREATE TABLE deployment_health_checks (
    check_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    session_id INTEGER,
    checked_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
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
    performance_degradation BOOLEAN DEFAULT 0 NOT NULL,
    regression_detected BOOLEAN DEFAULT 0 NOT NULL,
    regression_severity VARCHAR(20),
    needs_rollback BOOLEAN DEFAULT 0 NOT NULL,
    verdict VARCHAR(20),
    reasons TEXT,
    record TEXT,
    CONSTRAINT pk_deployment_health_checks PRIMARY KEY (check_id),
    CONSTRAINT fk_deployment_health_checks_session_id
        FOREIGN KEY (session_id) REFERENCES deployment_monitoring (session_id)
);

CREATE INDEX ix_deployment_health_checks_session_id ON deployment_health_checks (session_id, checked_at);

CREATE INDEX ix_deployment_health_checks_tool_name ON deployment_health_checks (tool_name, checked_at);

CREATE TABLE deployment_rollbacks (
    rollback_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    session_id INTEGER,
    rollback_time DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
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
    claimed_at DATETIME,
    restored_at DATETIME,
    finished_at DATETIME,
    error TEXT,
    investigation TEXT,
    actuator VARCHAR(20) DEFAULT 'folder' NOT NULL,
    sequence BIGINT,
    output TEXT,
    next_attempt_at DATETIME,
    quarantines BOOLEAN DEFAULT 0 NOT NULL,
    verified_at DATETIME,
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

CREATE TABLE notifications (
    notification_id INTEGER NOT NULL,
    created_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    event TEXT NOT NULL,
    delivered_to TEXT DEFAULT '[]' NOT NULL,
    delivered_at DATETIME,
    attempts INTEGER DEFAULT 0 NOT NULL,
    next_attempt_at DATETIME NOT NULL,
    last_error TEXT,
    CONSTRAINT pk_notifications PRIMARY KEY (notification_id)
);

CREATE INDEX ix_notifications_pending ON notifications (next_attempt_at) WHERE delivered_at IS NULL;

INSERT INTO rollup_state (only_row, rolled_to) VALUES (1, 0);

-- --- triggers --------------------------------------------------------------------------------------------------------

-- What another program inserts is checked for what cannot be counted; a time may have any form SQLite understands.
-- One trigger for all of it: a second one would cost every insert more than a longer condition does.
CREATE TRIGGER tool_executions_checked AFTER INSERT ON tool_executions
WHEN NEW.executed_at NOT GLOB
    '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
  OR typeof(NEW.duration_ms) NOT IN ('real', 'null') OR NEW.duration_ms > 1e15
  OR NEW.success NOT IN (0, 1)
  OR typeof(NEW.version_number) NOT IN ('integer', 'null')
  OR NEW.id <= (SELECT rolled_to FROM rollup_state) OR NEW.id >= 1 << 62
BEGIN
  SELECT RAISE(ABORT, 'executed_at must be a UTC time such as 2026-01-31 12:00:00')
    WHERE strftime('%s', NEW.executed_at) IS NULL;
  SELECT RAISE(ABORT, 'duration_ms must be a number of milliseconds, 0 to 1e15')
    WHERE typeof(NEW.duration_ms) NOT IN ('real', 'null') OR NEW.duration_ms > 1e15;
  SELECT RAISE(ABORT, 'success must be TRUE or FALSE')
    WHERE NEW.success NOT IN (0, 1);
  SELECT RAISE(ABORT, 'version_number must be a whole number')
    WHERE typeof(NEW.version_number) NOT IN ('integer', 'null');
  SELECT RAISE(ABORT, 'id must be left out: executions are counted in its order')
    WHERE NEW.id <= (SELECT rolled_to FROM rollup_state) OR NEW.id >= 1 << 62;
  UPDATE tool_executions SET executed_at = strftime('%Y-%m-%d %H:%M:%f000', NEW.executed_at) WHERE id = NEW.id;
END;

-- An id whose row is deleted may be given again, so counting goes back to the highest that is left.
CREATE TRIGGER tool_executions_deleted AFTER DELETE ON tool_executions
WHEN OLD.id >= (SELECT rolled_to FROM rollup_state)
BEGIN
  UPDATE rollup_state SET rolled_to = (SELECT COALESCE(MAX(id), 0) FROM tool_executions)
  WHERE rolled_to > (SELECT COALESCE(MAX(id), 0) FROM tool_executions);
END;

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
    (julianday('now') - julianday(m.deployment_time)) * 24.0 AS hours_elapsed,
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
        (julianday(r.rollback_time) - julianday(m.deployment_time)) * 24.0 AS hours_to_rollback,
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
        CASE WHEN substr(d.from_at, 1, 16) || ':00.000000' = d.from_at THEN d.from_at
            ELSE strftime('%Y-%m-%d %H:%M:00.000000', substr(d.from_at, 1, 16) || ':00', '+1 minute')
            END AS from_minute,
        substr(d.to_at, 1, 16) || ':00.000000' AS to_minute,
        CASE WHEN substr(d.from_at, 1, 13) || ':00:00.000000' = d.from_at THEN d.from_at
            ELSE strftime('%Y-%m-%d %H:%M:00.000000', substr(d.from_at, 1, 13) || ':00:00', '+1 hour')
            END AS from_hour,
        substr(d.to_at, 1, 13) || ':00:00.000000' AS to_hour
    FROM (
        SELECT
            tool_name,
            version_number,
            deployed_at AS from_at,
            COALESCE(ended_at, '9999-12-31 00:00:00.000000') AS to_at
        FROM tool_deployments
    ) d
),
counted (tool_name, version_number, executions, successes, timed, duration_sum_ms) AS (
    SELECT x.tool_name, x.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM tool_execution_rollups x WHERE x.width = 3600 AND x.version_number > 0 GROUP BY 1, 2
    UNION ALL
    SELECT x.tool_name, x.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM tool_executions x NOT INDEXED  -- by the id alone: an index would lead through every row there is
    WHERE x.id > (SELECT rolled_to FROM rollup_state) AND x.version_number IS NOT NULL GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 3600
     AND x.start_at >= l.from_hour AND x.start_at < l.to_hour AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= l.from_minute AND x.start_at < min(l.from_hour, l.to_minute)
     AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= max(l.from_hour, l.to_hour) AND x.start_at < l.to_minute
     AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM tool_executions x NOT INDEXED CROSS JOIN lives l WHERE x.tool_name = l.tool_name
     AND x.executed_at >= l.from_minute AND x.executed_at < l.to_minute
     AND x.id > (SELECT rolled_to FROM rollup_state) AND x.version_number IS NULL GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at >= l.from_at
     AND x.executed_at < min(l.from_minute, l.to_at) AND x.version_number IS NULL GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at < l.to_at
     AND x.executed_at >= max(l.from_minute, l.to_minute) AND x.version_number IS NULL GROUP BY 1, 2
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
        SUM((julianday(COALESCE(d.ended_at, 'now')) - julianday(d.deployed_at)) * 24.0) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN tool_deployments d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name;
