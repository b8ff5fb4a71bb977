-- Of the executions of a request all but the last, for the requests that had new executions.
INSERT INTO superseded_executions (id, tool_name, version_number, success, duration_ms, error_type, executed_at)
SELECT x.id, x.tool_name, CASE WHEN typeof(x.version_number) = 'integer' THEN x.version_number END, x.success,
       CASE WHEN typeof(x.duration_ms) = 'real' THEN x.duration_ms END, CASE WHEN x.error_type < x'' THEN x.error_type END,
       x.executed_at
FROM (
    SELECT DISTINCT tool_name, request_id FROM tool_executions x
    WHERE x.id > :first AND x.id <= :last AND +x.request_id IS NOT NULL AND x.tool_name < x''
) q JOIN tool_executions x ON x.tool_name = q.tool_name AND x.request_id = q.request_id
WHERE x.request_id IS NOT NULL AND EXISTS (
    SELECT 1 FROM tool_executions y
    WHERE y.tool_name = x.tool_name AND y.request_id = x.request_id AND y.request_id IS NOT NULL
    AND (y.executed_at > x.executed_at OR (y.executed_at = x.executed_at AND y.id > x.id)))
ON CONFLICT (id) DO NOTHING
