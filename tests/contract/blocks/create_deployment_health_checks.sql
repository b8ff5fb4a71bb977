CREATE TABLE deployment_health_checks (
    check_id SERIAL PRIMARY KEY,
    tool_name VARCHAR(255) NOT NULL,
    session_id INT REFERENCES deployment_monitoring(session_id),
    checked_at TIMESTAMP NOT NULL DEFAULT NOW(),
    
    -- Baseline metrics
    baseline_success_rate FLOAT,
    baseline_total_executions INT,
    
    -- Current metrics
    current_success_rate FLOAT,
    current_total_executions INT,
    
    -- Comparison
    success_rate_drop FLOAT,
    regression_detected BOOLEAN NOT NULL DEFAULT FALSE,
    regression_severity VARCHAR(20),
    needs_rollback BOOLEAN NOT NULL DEFAULT FALSE
);
