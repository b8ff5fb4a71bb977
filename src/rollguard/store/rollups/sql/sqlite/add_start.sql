INSERT INTO tool_version_starts (tool_name, version_number, first_hour)
VALUES (:tool_name, :version_number, :first_hour)
ON CONFLICT (tool_name, version_number) DO UPDATE SET first_hour = excluded.first_hour
WHERE excluded.first_hour < tool_version_starts.first_hour
