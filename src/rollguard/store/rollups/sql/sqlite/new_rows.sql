-- A duration that is text counts as none.
SELECT substr(executed_at, 1, 16), tool_name, version_number, success,
       CASE WHEN typeof(duration_ms) = 'real' THEN duration_ms END, error_type, request_id
FROM tool_executions WHERE id > :first AND id <= :last
