ALTER TABLE tool_executions ADD COLUMN failed_at TEXT;

ALTER TABLE tool_executions ADD COLUMN traceback TEXT;

-- As for tags: a trigger that is asked for most rows whether they have these at all.
CREATE TRIGGER tool_executions_failed_at_insert BEFORE INSERT ON tool_executions
WHEN NEW.traceback >= x'' OR NEW.failed_at >= x''
  OR (NEW.failed_at IS NOT NULL AND CASE WHEN json_valid(NEW.failed_at) THEN json_type(NEW.failed_at) <> 'object' ELSE TRUE END)
BEGIN
  SELECT RAISE(ABORT, 'failed_at must be a JSON object, and traceback text');
END;

CREATE TRIGGER tool_executions_failed_at_update BEFORE UPDATE OF failed_at, traceback ON tool_executions
WHEN NEW.traceback >= x'' OR NEW.failed_at >= x''
  OR (NEW.failed_at IS NOT NULL AND CASE WHEN json_valid(NEW.failed_at) THEN json_type(NEW.failed_at) <> 'object' ELSE TRUE END)
BEGIN
  SELECT RAISE(ABORT, 'failed_at must be a JSON object, and traceback text');
END;

CREATE TABLE investigation_reports (
    report_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    created_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    calls INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    cause_kind VARCHAR(20) NOT NULL,
    cause TEXT NOT NULL,
    report TEXT NOT NULL,
    CONSTRAINT pk_investigation_reports PRIMARY KEY (report_id)
);

CREATE INDEX ix_investigation_reports_tool_name ON investigation_reports (tool_name, report_id);
