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
