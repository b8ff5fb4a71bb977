-- From before such rows were refused: what is of the wrong type counts as none, and a row of no tool or time not at all.
SELECT substr(executed_at, 1, 16), tool_name, CASE WHEN typeof(version_number) = 'integer' THEN version_number END,
       success, CASE WHEN typeof(duration_ms) = 'real' THEN duration_ms END, CASE WHEN error_type < x'' THEN error_type END,
       CASE WHEN request_id < x'' THEN request_id END, score
FROM tool_executions WHERE id > :first AND id <= :last AND tool_name < x'' AND executed_at GLOB
    '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
