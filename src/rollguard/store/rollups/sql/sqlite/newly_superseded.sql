-- Executions that others of the same request superseded, by rows that are not aggregated yet.
SELECT x.id, x.tool_name, x.version_number, x.success, x.duration_ms, x.error_type, x.executed_at
FROM (
    SELECT x.id, x.tool_name, x.version_number, x.success, x.duration_ms, x.error_type, x.executed_at,
           ROW_NUMBER() OVER (
               PARTITION BY x.tool_name, x.request_id ORDER BY x.executed_at DESC, x.id DESC
           ) AS place
    FROM (
        SELECT DISTINCT tool_name, request_id FROM tool_executions NOT INDEXED
        WHERE id > (SELECT rolled_to FROM rollup_state) AND request_id IS NOT NULL
    ) q CROSS JOIN tool_executions x
    WHERE x.tool_name = q.tool_name AND x.request_id = q.request_id AND x.request_id IS NOT NULL
) x
WHERE x.place > 1 AND NOT EXISTS (SELECT 1 FROM superseded_executions s WHERE s.id = x.id)
