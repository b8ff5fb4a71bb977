-- (rows that a refresh would add up; whether any of them has a request)
SELECT (SELECT MAX(id) FROM tool_executions) - rolled_to,
       EXISTS (SELECT 1 FROM tool_executions x WHERE x.id > rolled_to AND +x.request_id IS NOT NULL)
FROM rollup_state
