SELECT * FROM active_monitoring
WHERE regression_detected = TRUE
   OR (hours_elapsed > monitoring_window_hours AND check_count < 5)
ORDER BY latest_success_rate_drop DESC;
