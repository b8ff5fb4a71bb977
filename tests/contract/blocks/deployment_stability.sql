SELECT * FROM deployment_stability 
ORDER BY rollback_rate DESC;
