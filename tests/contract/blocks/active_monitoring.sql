SELECT * FROM active_monitoring;
