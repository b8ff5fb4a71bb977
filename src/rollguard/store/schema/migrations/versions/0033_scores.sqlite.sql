ALTER TABLE tool_executions ADD COLUMN score FLOAT;

ALTER TABLE superseded_executions ADD COLUMN score FLOAT;

DROP TRIGGER superseded_executions_insert_typed;

DROP TRIGGER superseded_executions_update_typed;

-- A trigger of its own: it is asked for most rows whether they have a score at all, and that is cheap.
CREATE TRIGGER tool_executions_score_insert BEFORE INSERT ON tool_executions
WHEN NEW.score IS NOT NULL AND (typeof(NEW.score) NOT IN ('real', 'integer') OR NEW.score NOT BETWEEN 0 AND 1)
BEGIN
  SELECT RAISE(ABORT, 'score must be a number from 0 to 1');
END;

CREATE TRIGGER tool_executions_score_update BEFORE UPDATE OF score ON tool_executions
WHEN NEW.score IS NOT NULL AND (typeof(NEW.score) NOT IN ('real', 'integer') OR NEW.score NOT BETWEEN 0 AND 1)
BEGIN
  SELECT RAISE(ABORT, 'score must be a number from 0 to 1');
END;
