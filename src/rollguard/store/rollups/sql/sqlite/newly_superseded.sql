-- Executions that others of the same request superseded, by rows that are not aggregated yet. What is of a wrong type, from
-- before such rows were refused, counts as none.
SELECT x.id, x.tool_name, CASE WHEN typeof(x.version_number) = 'integer' THEN x.version_number END AS version_number,
       x.success, CASE WHEN typeof(x.duration_ms) = 'real' THEN x.duration_ms END AS duration_ms,
       CASE WHEN x.error_type < x'' THEN x.error_type END AS error_type, x.executed_at, x.score
FROM (
    SELECT x.id, x.tool_name, x.version_number, x.success, x.duration_ms, x.error_type, x.executed_at, x.score,
           ROW_NUMBER() OVER (
               PARTITION BY x.tool_name, x.request_id ORDER BY x.executed_at DESC, x.id DESC
           ) AS place
    FROM (
        SELECT DISTINCT tool_name, request_id FROM tool_executions NOT INDEXED
        WHERE id > (SELECT rolled_to FROM rollup_state) AND request_id IS NOT NULL AND tool_name < x''
    ) q CROSS JOIN tool_executions x
    WHERE x.tool_name = q.tool_name AND x.request_id = q.request_id AND x.request_id IS NOT NULL
) x
WHERE x.place > 1 AND NOT EXISTS (SELECT 1 FROM superseded_executions s WHERE s.id = x.id)
