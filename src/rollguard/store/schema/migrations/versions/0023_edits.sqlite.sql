DROP TRIGGER IF EXISTS tool_deployments_insert_typed;

DROP TRIGGER IF EXISTS tool_deployments_update_typed;

ALTER TABLE tool_deployments ADD COLUMN edit_began_at DATETIME
