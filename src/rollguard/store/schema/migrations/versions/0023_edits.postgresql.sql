ALTER TABLE tool_deployments ADD COLUMN edit_began_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN tool_deployments.edit_began_at IS 'of an edit in the folder: when the first of its saves was served'
