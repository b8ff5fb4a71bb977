ALTER TABLE tool_execution_rollups ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE tool_execution_deltas ADD COLUMN amended BIGINT DEFAULT 0 NOT NULL;

DROP TRIGGER tool_execution_rollups_insert_typed;

DROP TRIGGER tool_execution_rollups_update_typed;

DROP TRIGGER tool_execution_deltas_insert_typed;

DROP TRIGGER tool_execution_deltas_update_typed
