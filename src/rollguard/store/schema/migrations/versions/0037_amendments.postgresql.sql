ALTER TABLE tool_execution_rollups ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN tool_execution_rollups.amended IS 'how often what is counted here was amended';

ALTER TABLE tool_execution_deltas ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

COMMENT ON COLUMN tool_execution_deltas.amended IS 'how often what is counted here was amended'
