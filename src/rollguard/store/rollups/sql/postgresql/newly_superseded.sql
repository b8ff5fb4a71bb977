-- Executions that others of the same request superseded, of the requests in `arrivals`.
SELECT x.id, x.tool_name, x.version_number, x.success, x.duration_ms, x.error_type, x.executed_at, x.score
FROM (SELECT DISTINCT tool_name, request_id FROM arrivals) q CROSS JOIN LATERAL (
    SELECT y.*, ROW_NUMBER() OVER (ORDER BY y.executed_at DESC, y.id DESC) AS place
    FROM tool_executions y
    WHERE y.tool_name = q.tool_name AND y.request_id = q.request_id AND y.request_id IS NOT NULL
) x
WHERE x.place > 1 AND NOT EXISTS (SELECT 1 FROM superseded_executions s WHERE s.id = x.id)
