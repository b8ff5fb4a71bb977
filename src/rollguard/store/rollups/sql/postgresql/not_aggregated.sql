-- (rows that a refresh would add up, at most the threshold; whether requests arrived)
SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM tool_execution_deltas LIMIT :threshold) AS few),
       EXISTS (SELECT 1 FROM request_arrivals)
