SELECT * FROM tool_health_history 
WHERE tool_name = 'my_tool' 
ORDER BY checked_at DESC 
LIMIT 10;
