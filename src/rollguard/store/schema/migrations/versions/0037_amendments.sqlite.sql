ALTER TABLE tool_execution_rollups ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE tool_execution_deltas ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

DROP TRIGGER tool_execution_rollups_insert_typed;

DROP TRIGGER tool_execution_rollups_update_typed;

DROP TRIGGER tool_execution_deltas_insert_typed;

DROP TRIGGER tool_execution_deltas_update_typed;

DROP VIEW version_history_with_metrics;

-- As before, and a rollout counts as one deployment: one that was promoted by its deployment, any other by itself.
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
    FROM tool_execution_rollups x WHERE x.width = 3600 AND x.version_number > 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT x.tool_name, x.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM tool_executions x NOT INDEXED  -- by the id alone: an index would lead through every row there is
    WHERE x.id > (SELECT rolled_to FROM rollup_state) AND x.version_number IS NOT NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
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
     AND x.start_at >= l.from_minute AND x.start_at < min(l.from_hour, l.to_minute)
     AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        SUM(x.executions), SUM(x.successes), SUM(x.timed), SUM(x.duration_sum_ms)
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= max(l.from_hour, l.to_hour) AND x.start_at < l.to_minute
     AND x.version_number = 0
     AND x.error_type NOT IN ('CallWithdrawn', 'ControlFlow') GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM tool_executions x NOT INDEXED CROSS JOIN lives l WHERE x.tool_name = l.tool_name
     AND x.executed_at >= l.from_minute AND x.executed_at < l.to_minute
     AND x.id > (SELECT rolled_to FROM rollup_state) AND x.version_number IS NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at >= l.from_at
     AND x.executed_at < min(l.from_minute, l.to_at) AND x.version_number IS NULL
     AND (x.success OR COALESCE(x.error_type, '') NOT IN ('CallWithdrawn', 'ControlFlow')) GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number,
        COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at < l.to_at
     AND x.executed_at >= max(l.from_minute, l.to_minute) AND x.version_number IS NULL
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
        SELECT -rollout_id, tool_name, new_version, started_at, COALESCE(ended_at, strftime('%Y-%m-%d %H:%M:%f000', 'now')),
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

DROP VIEW version_stability;

-- As above.
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
        SUM(CASE WHEN d.ended_by = 'rollback' AND NOT EXISTS (
            SELECT 1 FROM deployment_rollbacks r
            WHERE r.tool_name = d.tool_name AND r.from_version = d.version_number AND r.rollback_time = d.ended_at
             AND r.release_id IS NOT NULL AND r.session_id IS NULL AND r.rollback_type <> 'manual'
            ) THEN 1 ELSE 0 END) AS rolled_back,
        SUM((julianday(COALESCE(d.ended_at, 'now')) - julianday(d.deployed_at)) * 24.0) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN (
        SELECT deployment_id, tool_name, version_number, deployed_at, ended_at, ended_by, kind FROM tool_deployments
        UNION ALL
        SELECT -rollout_id, tool_name, new_version, started_at, COALESCE(ended_at, strftime('%Y-%m-%d %H:%M:%f000', 'now')),
            CASE WHEN state = 'rolled_back' THEN 'rollback' END, 'deployment'
        FROM rollouts WHERE kind = 'canary' AND state <> 'promoted'
    ) d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name
