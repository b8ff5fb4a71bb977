ALTER TABLE deployment_monitoring ADD COLUMN left_out TEXT, ADD COLUMN earlier_versions TEXT, ADD COLUMN creeping TEXT;

COMMENT ON COLUMN deployment_monitoring.left_out IS 'JSON: what the baseline does not count, once a check found it';

COMMENT ON COLUMN deployment_monitoring.earlier_versions IS 'JSON: the counts of the tool''s earlier good versions';

COMMENT ON COLUMN deployment_monitoring.creeping IS
    'than which earlier version it was first found worse, a little with each version';
