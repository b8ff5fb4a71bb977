SELECT * FROM deployment_stability
WHERE rollback_rate > 0.2  -- 20%+ rollback rate
ORDER BY total_deployments DESC;
