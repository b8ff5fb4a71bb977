CREATE TABLE releases (
    release_id SERIAL NOT NULL,
    label VARCHAR(128) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    state VARCHAR(20) DEFAULT 'live' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    reason TEXT,
    released_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_releases PRIMARY KEY (release_id),
    CONSTRAINT uq_releases_label UNIQUE (label),
    CONSTRAINT ck_releases_kind CHECK (kind IN ('tools', 'program')),
    CONSTRAINT ck_releases_state CHECK (state IN ('live', 'rolled_back'))
);

CREATE TABLE release_tools (
    release_id INTEGER NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    version_number INTEGER NOT NULL,
    before_version INTEGER,
    changed BOOLEAN NOT NULL,
    way_back BOOLEAN NOT NULL,
    CONSTRAINT pk_release_tools PRIMARY KEY (release_id, tool_name)
);

CREATE INDEX ix_release_tools_tool_name ON release_tools (tool_name, version_number);

ALTER TABLE tool_deployments ADD COLUMN release_id INTEGER;

ALTER TABLE deployment_monitoring ADD COLUMN release_id INTEGER;

ALTER TABLE deployment_rollbacks ADD COLUMN release_id INTEGER;

COMMENT ON COLUMN tool_deployments.release_id IS 'the release that it belongs to';

COMMENT ON COLUMN deployment_monitoring.release_id IS 'the release that the deployment belongs to';

COMMENT ON COLUMN deployment_rollbacks.release_id IS 'the release that is rolled back as one';

COMMENT ON COLUMN releases.kind IS 'tools of a folder or of targets, or functions of a program';

COMMENT ON COLUMN releases.metadata IS 'JSON object: the caller''s own';

COMMENT ON COLUMN release_tools.before_version IS 'what was live before; NULL if the release added the tool';

COMMENT ON COLUMN release_tools.way_back IS 'whether a rollback can put an earlier version in its place';

CREATE INDEX ix_tool_deployments_release_id ON tool_deployments (release_id) WHERE release_id IS NOT NULL;

CREATE INDEX ix_deployment_rollbacks_withdrawn ON deployment_rollbacks (tool_name)
    WHERE state = 'finished' AND to_version IS NULL;

-- As before; what is rolled back with a release, for another tool's sake, is no rollback of the tool.
CREATE OR REPLACE VIEW version_stability AS
SELECT
    v.tool_name,
    COUNT(*) AS versions,
    SUM(CASE WHEN v.times > 0 THEN 1 ELSE 0 END) AS versions_deployed,
    SUM(CASE WHEN v.rolled_back > 0 THEN 1 ELSE 0 END) AS versions_rolled_back,
    CAST(COALESCE(SUM(v.deployed), 0) AS BIGINT) AS deployments,
    CAST(COALESCE(SUM(v.rolled_back), 0) AS BIGINT) AS rollbacks,
    CASE WHEN SUM(v.deployed) > 0
        THEN CAST(SUM(v.rolled_back) AS FLOAT) / CAST(SUM(v.deployed) AS FLOAT) END AS rollback_rate,
    CASE WHEN SUM(v.times) > 0
        THEN CAST(SUM(v.hours_live) AS FLOAT) / CAST(SUM(v.times) AS FLOAT) END AS avg_hours_live,
    MAX(v.live) AS current_version,
    MAX(v.live_since) AS current_since
FROM (
    SELECT
        t.tool_name,
        t.version_number,
        COUNT(d.deployment_id) AS times,
        SUM(CASE WHEN d.kind = 'deployment' THEN 1 ELSE 0 END) AS deployed,
        SUM(CASE WHEN d.ended_by = 'rollback' AND NOT EXISTS (
            SELECT 1 FROM deployment_rollbacks r
            WHERE r.tool_name = d.tool_name AND r.from_version = d.version_number AND r.rollback_time = d.ended_at
             AND r.release_id IS NOT NULL AND r.session_id IS NULL AND r.rollback_type <> 'manual'
            ) THEN 1 ELSE 0 END) AS rolled_back,
        SUM((EXTRACT(EPOCH FROM (COALESCE(d.ended_at, now()) - d.deployed_at)) / 3600.0)::float8) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN tool_deployments d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name
