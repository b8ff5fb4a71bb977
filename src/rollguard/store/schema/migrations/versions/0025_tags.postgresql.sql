ALTER TABLE tool_executions ADD COLUMN tags TEXT
    CONSTRAINT ck_tool_executions_tags CHECK (jsonb_typeof(tags::jsonb) = 'object');

COMMENT ON COLUMN tool_executions.tags IS 'JSON: the caller''s own tags of the call'
