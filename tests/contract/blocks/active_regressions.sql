SELECT * FROM active_monitoring 
WHERE regression_detected = TRUE;
