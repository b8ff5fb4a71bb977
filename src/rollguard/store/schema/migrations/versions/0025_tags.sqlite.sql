ALTER TABLE tool_executions ADD COLUMN tags TEXT;

-- A trigger of its own: it is asked for most rows whether they have tags at all, and that is cheap.
CREATE TRIGGER tool_executions_tags_insert BEFORE INSERT ON tool_executions
WHEN NEW.tags IS NOT NULL AND CASE WHEN json_valid(NEW.tags) THEN json_type(NEW.tags) <> 'object' ELSE TRUE END
BEGIN
  SELECT RAISE(ABORT, 'tags must be a JSON object');
END;

CREATE TRIGGER tool_executions_tags_update BEFORE UPDATE OF tags ON tool_executions
WHEN NEW.tags IS NOT NULL AND CASE WHEN json_valid(NEW.tags) THEN json_type(NEW.tags) <> 'object' ELSE TRUE END
BEGIN
  SELECT RAISE(ABORT, 'tags must be a JSON object');
END;
