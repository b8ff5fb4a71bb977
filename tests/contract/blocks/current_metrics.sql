SELECT 
    COUNT(*) as total,
    COUNT(*) FILTER (WHERE success = TRUE) as successes,
    AVG(duration_ms) as avg_duration
FROM tool_executions
WHERE tool_name = 'my_tool'
  AND executed_at >= deployment_time
  AND executed_at <= NOW()
