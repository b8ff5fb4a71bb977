ALTER TABLE deployment_monitoring ADD COLUMN left_out TEXT;

ALTER TABLE deployment_monitoring ADD COLUMN earlier_versions TEXT;

ALTER TABLE deployment_monitoring ADD COLUMN creeping TEXT;

DROP TRIGGER deployment_monitoring_insert_typed;

DROP TRIGGER deployment_monitoring_update_typed;
