-- As before, and what is no text is refused. In these columns only bytes can be none, and bytes are greater than text:
-- to compare takes a third of the time of asking for the type.
DROP TRIGGER IF EXISTS tool_executions_checked;

CREATE TRIGGER tool_executions_checked AFTER INSERT ON tool_executions
WHEN NEW.executed_at NOT GLOB
    '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
  OR typeof(NEW.duration_ms) NOT IN ('real', 'null') OR NEW.duration_ms > 1e15
  OR NEW.success NOT IN (0, 1)
  OR typeof(NEW.version_number) NOT IN ('integer', 'null') OR NEW.version_number NOT BETWEEN -2147483648 AND 2147483647
  OR NEW.id <= (SELECT rolled_to FROM rollup_state) OR NEW.id >= 1 << 62
  OR NEW.tool_name >= x'' OR length(NEW.tool_name) > 255
  OR NEW.execution_id >= x'' OR length(NEW.execution_id) > 255
  OR NEW.error_type >= x'' OR length(NEW.error_type) > 255
  OR NEW.request_id >= x'' OR length(NEW.request_id) > 255
  OR NEW.error >= x'' OR NEW.parameters >= x'' OR NEW.result >= x''
BEGIN
  SELECT RAISE(ABORT, 'executed_at must be a UTC time such as 2026-01-31 12:00:00')
    WHERE typeof(NEW.executed_at) <> 'text' OR strftime('%s', NEW.executed_at) IS NULL;
  SELECT RAISE(ABORT, 'duration_ms must be a number of milliseconds, 0 to 1e15')
    WHERE typeof(NEW.duration_ms) NOT IN ('real', 'null') OR NEW.duration_ms > 1e15;
  SELECT RAISE(ABORT, 'success must be TRUE or FALSE')
    WHERE NEW.success NOT IN (0, 1);
  SELECT RAISE(ABORT, 'version_number must be a whole number')
    WHERE typeof(NEW.version_number) NOT IN ('integer', 'null')
       OR NEW.version_number NOT BETWEEN -2147483648 AND 2147483647;
  SELECT RAISE(ABORT, 'id must be left out: executions are counted in its order')
    WHERE NEW.id <= (SELECT rolled_to FROM rollup_state) OR NEW.id >= 1 << 62;
  SELECT RAISE(ABORT, 'tool_name, execution_id, error_type and request_id must be text of at most 255 characters')
    WHERE NEW.tool_name >= x'' OR length(NEW.tool_name) > 255
       OR NEW.execution_id >= x'' OR length(NEW.execution_id) > 255
       OR NEW.error_type >= x'' OR length(NEW.error_type) > 255
       OR NEW.request_id >= x'' OR length(NEW.request_id) > 255;
  SELECT RAISE(ABORT, 'error, parameters and result must be text')
    WHERE NEW.error >= x'' OR NEW.parameters >= x'' OR NEW.result >= x'';
  UPDATE tool_executions SET executed_at = strftime('%Y-%m-%d %H:%M:%f000', NEW.executed_at) WHERE id = NEW.id;
END;

-- Rollguard never changes an execution; what another program changes is held like what it inserts.
CREATE TRIGGER tool_executions_changed AFTER UPDATE ON tool_executions
WHEN NEW.executed_at NOT GLOB
    '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
  OR typeof(NEW.duration_ms) NOT IN ('real', 'null') OR NEW.duration_ms > 1e15
  OR NEW.success NOT IN (0, 1)
  OR typeof(NEW.version_number) NOT IN ('integer', 'null') OR NEW.version_number NOT BETWEEN -2147483648 AND 2147483647
  OR NEW.tool_name >= x'' OR length(NEW.tool_name) > 255
  OR NEW.execution_id >= x'' OR length(NEW.execution_id) > 255
  OR NEW.error_type >= x'' OR length(NEW.error_type) > 255
  OR NEW.request_id >= x'' OR length(NEW.request_id) > 255
  OR NEW.error >= x'' OR NEW.parameters >= x'' OR NEW.result >= x''
BEGIN
  SELECT RAISE(ABORT, 'an execution must hold what its columns declare; a time has the form 2026-01-31 12:00:00.000000');
END
