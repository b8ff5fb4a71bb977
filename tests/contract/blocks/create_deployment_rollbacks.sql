CREATE TABLE deployment_rollbacks (
    rollback_id SERIAL PRIMARY KEY,
    tool_name VARCHAR(255) NOT NULL,
    session_id INT REFERENCES deployment_monitoring(session_id),
    rollback_time TIMESTAMP NOT NULL DEFAULT NOW(),
    reason TEXT NOT NULL,
    success_rate_drop FLOAT,
    regression_severity VARCHAR(20),
    rollback_successful BOOLEAN NOT NULL
);
