CREATE TABLE deployment_monitoring (
    session_id SERIAL PRIMARY KEY,
    tool_name VARCHAR(255) NOT NULL,
    deployment_time TIMESTAMP NOT NULL,
    monitoring_started_at TIMESTAMP NOT NULL DEFAULT NOW(),
    monitoring_window_hours INT NOT NULL DEFAULT 24,
    baseline_window_days INT NOT NULL DEFAULT 7,
    regression_threshold FLOAT NOT NULL DEFAULT 0.15,
    status VARCHAR(50) NOT NULL DEFAULT 'active',
    completed_at TIMESTAMP,
    notes TEXT
);
