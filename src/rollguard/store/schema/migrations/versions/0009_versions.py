"""The history of versions: deployments that a rollback made are told apart, and two views show how each version did.

Versions take the kind `rollback` too: code written to take a change back. What a rollback itself makes is no version,
since it brings an old one back, but a deployment, and that says so.
"""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import utc_now

revision = "0009"
down_revision = "0008"

KINDS = "kind IN ('initial', 'bugfix', 'enhancement', 'improvement', 'edit', 'rollback')"

DEPLOYMENT_KIND = """
ALTER TABLE tool_deployments ADD COLUMN kind VARCHAR(20) NOT NULL DEFAULT 'deployment'
CONSTRAINT ck_tool_deployments_kind CHECK (kind IN ('deployment', 'rollback'))
"""

# What took the place of a deployment that a rollback ended was made by that rollback.
MADE_BY_ROLLBACKS = """
UPDATE tool_deployments SET kind = 'rollback'
WHERE 'rollback' = (
    SELECT before.ended_by FROM tool_deployments before
    WHERE before.tool_name = tool_deployments.tool_name AND before.deployment_id < tool_deployments.deployment_id
    ORDER BY before.deployment_id DESC LIMIT 1)
"""

# --- the views -------------------------------------------------------------------------------------------------------

# A moment's minute and hour, down and up, in each database's own arithmetic.
FLOOR = {
    "postgresql": "date_trunc('{unit}', {at}, 'UTC')",
    "sqlite": "(substr({at}, 1, {kept}) || substr('0000-00-00 00:00:00.000000', {kept} + 1))",
}
CEIL = {
    "postgresql": "date_trunc('{unit}', {at} + interval '1 {unit}' - interval '1 microsecond', 'UTC')",
    "sqlite": "CASE WHEN {floor} = {at} THEN {at} "
    "ELSE strftime('%Y-%m-%d %H:%M:00.000000', substr({floor}, 1, 19), '+1 {unit}') END",
}
FOR_EVER = {"postgresql": "TIMESTAMPTZ '9999-12-31 00:00:00+00'", "sqlite": "'9999-12-31 00:00:00.000000'"}
LEAST = {"postgresql": "LEAST", "sqlite": "min"}
GREATEST = {"postgresql": "GREATEST", "sqlite": "max"}
HOURS = {
    "postgresql": "(EXTRACT(EPOCH FROM (COALESCE(d.ended_at, now()) - d.deployed_at)) / 3600.0)::float8",
    "sqlite": "(julianday(COALESCE(d.ended_at, 'now')) - julianday(d.deployed_at)) * 24.0",
}

ROLLED = (
    "SUM(x.executions), SUM(x.successes), SUM(CASE WHEN x.bucket >= 0 THEN x.executions END), SUM(x.duration_sum_ms)"
)
RAW = "COUNT(*), SUM(CASE WHEN x.success THEN 1 ELSE 0 END), COUNT(x.duration_ms), SUM(x.duration_ms)"

# Where that is found which is counted and not folded into the rollups yet.
HISTOGRAM_ROWS = {
    "postgresql": {
        "table": "tool_execution_deltas x",
        "sums": ROLLED,
        "named": "x.version_number > 0",
        "unnamed": "x.version_number = 0",
        "at": "x.minute",
    },
    "sqlite": {
        "table": "tool_executions x NOT INDEXED",  # by the id alone: an index would lead through every row there is
        "sums": RAW,
        "named": "x.id > (SELECT rolled_to FROM rollup_state) AND x.version_number IS NOT NULL",
        "unnamed": "x.id > (SELECT rolled_to FROM rollup_state) AND x.version_number IS NULL",
        "at": "x.executed_at",
    },
}

# An execution that names a version is that version's. One that names none is that of the version that was live when it
# began: counted by the hours and minutes that lie whole within a deployment, and by the rows in the parts of a minute
# at its ends. No execution is in two of these.
COUNTED = """
    SELECT x.tool_name, x.version_number, {rolled}
    FROM tool_execution_rollups x WHERE x.width = 3600 AND x.version_number > 0 GROUP BY 1, 2
    UNION ALL
    SELECT x.tool_name, x.version_number, {unfolded_sums}
    FROM {unfolded_table} WHERE {unfolded_named} GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number, {rolled}
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 3600
     AND x.start_at >= l.from_hour AND x.start_at < l.to_hour AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number, {rolled}
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= l.from_minute AND x.start_at < {least}(l.from_hour, l.to_minute)
     AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number, {rolled}
    FROM lives l JOIN tool_execution_rollups x ON x.tool_name = l.tool_name AND x.width = 60
     AND x.start_at >= {greatest}(l.from_hour, l.to_hour) AND x.start_at < l.to_minute
     AND x.version_number = 0 GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number, {unfolded_sums}
    FROM {unfolded_table} CROSS JOIN lives l WHERE x.tool_name = l.tool_name
     AND {unfolded_at} >= l.from_minute AND {unfolded_at} < l.to_minute AND {unfolded_unnamed} GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number, {raw}
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at >= l.from_at
     AND x.executed_at < {least}(l.from_minute, l.to_at) AND x.version_number IS NULL GROUP BY 1, 2
    UNION ALL
    SELECT l.tool_name, l.version_number, {raw}
    FROM lives l JOIN tool_executions x ON x.tool_name = l.tool_name AND x.executed_at < l.to_at
     AND x.executed_at >= {greatest}(l.from_minute, l.to_minute) AND x.version_number IS NULL GROUP BY 1, 2
"""

VERSION_HISTORY = """
CREATE VIEW version_history_with_metrics AS
WITH lives AS (
    SELECT
        d.tool_name,
        d.version_number,
        d.from_at,
        d.to_at,
        {ceil_minute} AS from_minute,
        {floor_minute} AS to_minute,
        {ceil_hour} AS from_hour,
        {floor_hour} AS to_hour
    FROM (
        SELECT tool_name, version_number, deployed_at AS from_at, COALESCE(ended_at, {for_ever}) AS to_at
        FROM tool_deployments
    ) d
),
counted (tool_name, version_number, executions, successes, timed, duration_sum_ms) AS ({counted}),
metrics AS (
    SELECT
        c.tool_name,
        c.version_number,
        SUM(c.executions) AS executions,
        SUM(c.successes) AS successes,
        SUM(c.timed) AS timed,
        SUM(c.duration_sum_ms) AS duration_sum_ms
    FROM counted c
    GROUP BY c.tool_name, c.version_number
),
deployed AS (
    SELECT
        d.tool_name,
        d.version_number,
        MAX(CASE WHEN d.ended_at IS NULL THEN 1 ELSE 0 END) AS live,
        COUNT(*) AS times,
        SUM(CASE WHEN d.kind = 'rollback' THEN 1 ELSE 0 END) AS restored,
        SUM(CASE WHEN d.ended_by = 'rollback' THEN 1 ELSE 0 END) AS rolled_back,
        MIN(d.deployed_at) AS first_at,
        MAX(d.deployed_at) AS last_at
    FROM tool_deployments d
    GROUP BY d.tool_name, d.version_number
)
SELECT
    v.tool_name,
    v.version_number,
    v.kind,
    v.created_by,
    v.created_at,
    v.reason,
    v.parent_version,
    v.sha256,
    COALESCE(d.live, 0) > 0 AS is_live,
    COALESCE(d.times, 0) AS times_deployed,
    COALESCE(d.restored, 0) AS times_restored,
    d.first_at AS first_deployed_at,
    d.last_at AS last_deployed_at,
    COALESCE(d.rolled_back, 0) > 0 AS was_rolled_back,
    CASE WHEN d.rolled_back > 0 THEN (
        SELECT r.reason FROM deployment_rollbacks r
        WHERE r.tool_name = v.tool_name AND r.from_version = v.version_number AND r.rollback_successful
        ORDER BY r.rollback_id DESC LIMIT 1) END AS rolled_back_reason,
    CAST(COALESCE(m.executions, 0) AS BIGINT) AS executions,
    CAST(COALESCE(m.successes, 0) AS BIGINT) AS successes,
    CASE WHEN m.executions > 0 THEN CAST(m.successes AS FLOAT) / CAST(m.executions AS FLOAT) END AS success_rate,
    CASE WHEN m.timed > 0 THEN CAST(m.duration_sum_ms AS FLOAT) / CAST(m.timed AS FLOAT) END AS avg_duration_ms
FROM tool_versions v
LEFT JOIN deployed d ON d.tool_name = v.tool_name AND d.version_number = v.version_number
LEFT JOIN metrics m ON m.tool_name = v.tool_name AND m.version_number = v.version_number
"""

VERSION_STABILITY = """
CREATE VIEW version_stability AS
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
        SUM(CASE WHEN d.ended_by = 'rollback' THEN 1 ELSE 0 END) AS rolled_back,
        SUM({hours}) AS hours_live,
        MAX(CASE WHEN d.deployment_id IS NOT NULL AND d.ended_at IS NULL THEN d.version_number END) AS live,
        MAX(CASE WHEN d.ended_at IS NULL THEN d.deployed_at END) AS live_since
    FROM tool_versions t
    LEFT JOIN tool_deployments d ON d.tool_name = t.tool_name AND d.version_number = t.version_number
    GROUP BY t.tool_name, t.version_number
) v
GROUP BY v.tool_name
"""


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.drop_constraint("ck_tool_versions_kind", "tool_versions", type_="check")
        op.create_check_constraint("ck_tool_versions_kind", "tool_versions", KINDS)
    else:
        _copy_versions()  # SQLite changes no constraint of a table that is there
    op.execute(DEPLOYMENT_KIND)
    op.execute(MADE_BY_ROLLBACKS)
    op.execute(_escaped(_version_history(dialect)))
    op.execute(_escaped(VERSION_STABILITY.format(hours=HOURS[dialect])))


def _copy_versions() -> None:
    op.create_table(
        "tool_versions_new",
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("code", sa.LargeBinary, nullable=False, comment="the file's bytes, exactly"),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("parent_version", sa.Integer),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("version_id", name="pk_tool_versions"),
        sa.UniqueConstraint("tool_name", "version_number", name="uq_tool_versions_tool_name_version_number"),
        sa.UniqueConstraint("tool_name", "sha256", name="uq_tool_versions_tool_name_sha256"),
        sa.CheckConstraint("version_number >= 1", name="ck_tool_versions_number"),
        sa.CheckConstraint(KINDS, name="ck_tool_versions_kind"),
    )
    columns = (
        "version_id, tool_name, version_number, code, sha256, kind, created_by, reason, parent_version, created_at"
    )
    op.execute(f"INSERT INTO tool_versions_new ({columns}) SELECT {columns} FROM tool_versions")
    op.drop_table("tool_versions")
    op.rename_table("tool_versions_new", "tool_versions")


def _version_history(dialect: str) -> str:
    def floor(at: str, unit: str) -> str:
        return FLOOR[dialect].format(at=at, unit=unit, kept={"minute": 16, "hour": 13}[unit])

    def ceil(at: str, unit: str) -> str:
        return CEIL[dialect].format(at=at, unit=unit, floor=floor(at, unit))

    unfolded = {f"unfolded_{key}": value for key, value in HISTOGRAM_ROWS[dialect].items()}
    counted = COUNTED.format(rolled=ROLLED, raw=RAW, least=LEAST[dialect], greatest=GREATEST[dialect], **unfolded)
    return VERSION_HISTORY.format(
        ceil_minute=ceil("d.from_at", "minute"),
        floor_minute=floor("d.to_at", "minute"),
        ceil_hour=ceil("d.from_at", "hour"),
        floor_hour=floor("d.to_at", "hour"),
        for_ever=FOR_EVER[dialect],
        counted=counted,
    )


def _escaped(sql: str) -> str:
    """Colons in SQL are no parameters."""
    return sql.replace(":", "\\:").replace("\\:\\:", "::")
