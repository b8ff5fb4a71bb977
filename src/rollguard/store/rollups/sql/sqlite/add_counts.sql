INSERT INTO tool_execution_rollups (
    tool_name, width, start_at, version_number, error_type, executions, successes, timed, duration_sum_ms, histogram,
    amended
)
VALUES (
    :tool_name, :width, :start_at, :version_number, :error_type,
    :executions, :successes, :timed, :duration_sum_ms, :histogram, :amended
)
ON CONFLICT (tool_name, width, start_at, version_number, error_type) DO UPDATE SET
    executions = tool_execution_rollups.executions + excluded.executions,
    successes = tool_execution_rollups.successes + excluded.successes,
    timed = tool_execution_rollups.timed + excluded.timed,
    duration_sum_ms = tool_execution_rollups.duration_sum_ms + excluded.duration_sum_ms,
    histogram = rollguard_merged(tool_execution_rollups.histogram, excluded.histogram),
    amended = tool_execution_rollups.amended + excluded.amended
