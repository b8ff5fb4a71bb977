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
$$
