SELECT 
    tool_name,
    rollback_time,
    reason,
    success_rate_drop,
    regression_severity
FROM deployment_rollbacks
WHERE rollback_time > NOW() - INTERVAL '7 days'
ORDER BY rollback_time DESC;
