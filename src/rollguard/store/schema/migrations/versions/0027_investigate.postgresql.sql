ALTER TABLE tool_executions ADD COLUMN failed_at TEXT
    CONSTRAINT ck_tool_executions_failed_at CHECK (jsonb_typeof(failed_at::jsonb) = 'object');

ALTER TABLE tool_executions ADD COLUMN traceback TEXT;

COMMENT ON COLUMN tool_executions.failed_at IS 'JSON: function, line and text of the innermost line of the tool''s own code';

CREATE TABLE investigation_reports (
    report_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    calls INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    cause_kind VARCHAR(20) NOT NULL,
    cause TEXT NOT NULL,
    report TEXT NOT NULL,
    CONSTRAINT pk_investigation_reports PRIMARY KEY (report_id)
);

COMMENT ON TABLE investigation_reports IS 'what was found out about why a tool fails';

COMMENT ON COLUMN investigation_reports.version_number IS 'the version that was investigated; NULL is every one';

COMMENT ON COLUMN investigation_reports.cause IS 'the first cause in words';

COMMENT ON COLUMN investigation_reports.report IS 'JSON: the whole report';

CREATE INDEX ix_investigation_reports_tool_name ON investigation_reports (tool_name, report_id);
