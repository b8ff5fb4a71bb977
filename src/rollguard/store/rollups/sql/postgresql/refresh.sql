WITH taken AS (DELETE FROM tool_execution_deltas RETURNING *),
x AS (
    -- The number of the rollup is cheaper to group by than its key.
    SELECT *, dense_rank() OVER (ORDER BY tool_name, width, start_at, version_number, error_type) AS number,
           COUNT(*) OVER (PARTITION BY tool_name, width, start_at, version_number, error_type) AS deltas
    FROM (
        SELECT tool_name, width, CASE width WHEN 60 THEN minute ELSE date_trunc('hour', minute, 'UTC') END AS start_at,
               version_number, error_type, executions, successes, timed, duration_sum_ms, histogram, amended
        FROM taken CROSS JOIN (VALUES (60), (3600)) AS widths (width)
    ) AS widened
),
sums AS (
    SELECT number, tool_name, width, start_at, version_number, error_type,
           SUM(executions) AS executions, SUM(successes) AS successes, SUM(timed) AS timed,
           SUM(duration_sum_ms) AS duration_sum_ms, MIN(histogram) AS histogram, SUM(amended) AS amended
    FROM x GROUP BY number, tool_name, width, start_at, version_number, error_type
),
buckets AS (
    SELECT number, h.bucket, SUM(h.executions)::bigint AS executions
    FROM x CROSS JOIN LATERAL unnest(x.histogram[1:1], x.histogram[2:2]) AS h (bucket, executions)
    WHERE deltas > 1 GROUP BY number, h.bucket
),
histograms AS (
    SELECT number, ARRAY[array_agg(bucket), array_agg(executions)] AS histogram FROM buckets GROUP BY number
),
added AS (
    INSERT INTO tool_execution_rollups (
        tool_name, width, start_at, version_number, error_type, executions, successes, timed, duration_sum_ms, histogram,
        amended
    )
    SELECT tool_name, width, start_at, version_number, error_type,
           executions, successes, timed, duration_sum_ms, COALESCE(histograms.histogram, sums.histogram), amended
    FROM sums LEFT JOIN histograms USING (number) WHERE TRUE
    ON CONFLICT (tool_name, width, start_at, version_number, error_type) DO UPDATE SET
        executions = tool_execution_rollups.executions + excluded.executions,
        successes = tool_execution_rollups.successes + excluded.successes,
        timed = tool_execution_rollups.timed + excluded.timed,
        duration_sum_ms = tool_execution_rollups.duration_sum_ms + excluded.duration_sum_ms,
        histogram = rollguard_merged(tool_execution_rollups.histogram, excluded.histogram),
        amended = tool_execution_rollups.amended + excluded.amended
)
INSERT INTO tool_version_starts (tool_name, version_number, first_hour)
SELECT tool_name, version_number, MIN(start_at) FROM sums WHERE width = 3600 GROUP BY 1, 2
ON CONFLICT (tool_name, version_number) DO UPDATE SET first_hour = excluded.first_hour
WHERE excluded.first_hour < tool_version_starts.first_hour
