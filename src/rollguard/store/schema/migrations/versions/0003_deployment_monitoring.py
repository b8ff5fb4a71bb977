"""Monitoring: sessions, health checks, rollbacks, what people are told, and the contract's three views."""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema import utc_now

revision = "0003"
down_revision = "0002"

# What a session may be judged by: a row that no check could read would stop the watch over all the others.
RULES = (
    ("monitoring_window_hours", "BETWEEN 1 AND 8760"),
    ("baseline_window_days", "BETWEEN 1 AND 365"),
    ("regression_threshold", "> 0 AND regression_threshold <= 1"),
    ("min_executions", "BETWEEN 1 AND 1000000"),
    ("alpha", "> 0 AND alpha < 0.5"),
    ("delta", ">= 0 AND delta < 1"),
)

# Hours between two moments, in each database's own arithmetic.
HOURS = {
    "postgresql": "(EXTRACT(EPOCH FROM ({later} - {earlier})) / 3600.0)::float8",
    "sqlite": "(julianday({later}) - julianday({earlier})) * 24.0",
}
NOW = {"postgresql": "now()", "sqlite": "'now'"}

# A check that could not be made says nothing about the tool, so it must not hide what the check before it found.
ACTIVE_MONITORING = """
CREATE VIEW active_monitoring AS
SELECT
    m.session_id,
    m.tool_name,
    m.version_number,
    m.deployment_time,
    m.monitoring_started_at,
    m.monitoring_window_hours,
    {hours_elapsed} AS hours_elapsed,
    COALESCE(judged.regression_detected, FALSE) AS regression_detected,
    judged.regression_severity AS latest_regression_severity,
    judged.success_rate_drop AS latest_success_rate_drop,
    latest.verdict AS latest_verdict,
    latest.checked_at AS latest_check_at,
    (SELECT COUNT(*) FROM deployment_health_checks c WHERE c.session_id = m.session_id) AS check_count
FROM deployment_monitoring m
LEFT JOIN deployment_health_checks latest ON latest.check_id = (
    SELECT c.check_id FROM deployment_health_checks c
    WHERE c.session_id = m.session_id
    ORDER BY c.checked_at DESC, c.check_id DESC LIMIT 1)
LEFT JOIN deployment_health_checks judged ON judged.check_id = (
    SELECT c.check_id FROM deployment_health_checks c
    WHERE c.session_id = m.session_id AND COALESCE(c.verdict, '') <> 'error'
    ORDER BY c.checked_at DESC, c.check_id DESC LIMIT 1)
WHERE m.status = 'active'
"""

TOOL_HEALTH_HISTORY = """
CREATE VIEW tool_health_history AS
SELECT
    c.tool_name,
    c.session_id,
    c.check_id,
    c.checked_at,
    c.baseline_success_rate,
    c.baseline_total_executions,
    c.baseline_avg_duration_ms,
    c.baseline_p50_ms,
    c.baseline_p95_ms,
    c.baseline_p99_ms,
    c.current_success_rate,
    c.current_total_executions,
    c.current_avg_duration_ms,
    c.current_p50_ms,
    c.current_p95_ms,
    c.current_p99_ms,
    c.success_rate_drop,
    c.duration_change,
    c.performance_degradation,
    c.regression_detected,
    c.regression_severity,
    c.needs_rollback,
    c.verdict,
    m.deployment_time,
    m.status AS session_status
FROM deployment_health_checks c
LEFT JOIN deployment_monitoring m ON m.session_id = c.session_id
"""

# Each session and its rollback is one row before anything is added up, so that nothing counts twice.
DEPLOYMENT_STABILITY = """
CREATE VIEW deployment_stability AS
SELECT
    d.tool_name,
    COUNT(*) AS total_deployments,
    SUM(d.rolled_back) AS total_rollbacks,
    CAST(SUM(d.rolled_back) AS FLOAT) / COUNT(*) AS rollback_rate,
    AVG(d.hours_to_rollback) AS avg_hours_to_rollback,
    AVG(d.last_success_rate) AS avg_post_deployment_success_rate
FROM (
    SELECT
        m.tool_name,
        CASE WHEN r.rollback_id IS NULL THEN 0 ELSE 1 END AS rolled_back,
        {hours_to_rollback} AS hours_to_rollback,
        (SELECT c.current_success_rate FROM deployment_health_checks c
         WHERE c.session_id = m.session_id AND c.current_total_executions > 0
         ORDER BY c.checked_at DESC, c.check_id DESC LIMIT 1) AS last_success_rate
    FROM deployment_monitoring m
    LEFT JOIN deployment_rollbacks r ON r.session_id = m.session_id AND r.rollback_successful
) d
GROUP BY d.tool_name
"""


def upgrade() -> None:
    _sessions()
    _health_checks()
    _rollbacks()
    _notifications()
    _views(op.get_bind().dialect.name)


def _sessions() -> None:
    op.create_table(
        "deployment_monitoring",
        sa.Column("session_id", sa.Integer, nullable=False),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("deployment_time", UTCDateTime, nullable=False),
        sa.Column("monitoring_started_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("monitoring_window_hours", sa.Integer, nullable=False, server_default=sa.text("24")),
        sa.Column("baseline_window_days", sa.Integer, nullable=False, server_default=sa.text("7")),
        sa.Column("regression_threshold", sa.Float, nullable=False, server_default=sa.text("0.15")),
        sa.Column("status", sa.String(50), nullable=False, server_default="active"),
        sa.Column("completed_at", UTCDateTime),
        sa.Column("notes", sa.Text),
        sa.Column("min_executions", sa.Integer, nullable=False, server_default=sa.text("10")),
        sa.Column("alpha", sa.Float, nullable=False, server_default=sa.text("0.05")),
        sa.Column("delta", sa.Float, nullable=False, server_default=sa.text("0")),
        sa.Column(
            "version_number",
            sa.Integer,
            comment="the version under watch; NULL counts executions by time alone",
        ),
        sa.Column(
            "live_before",
            UTCDateTime,
            comment="when that version was last live before this deployment, if ever",
        ),
        sa.Column("outcome", sa.String(20), comment="of a completed session: healthy, unproven or regressed"),
        sa.PrimaryKeyConstraint("session_id", name="pk_deployment_monitoring"),
        sa.CheckConstraint(
            "status IN ('active', 'completed', 'rolled_back', 'superseded', 'cancelled')",
            name="ck_deployment_monitoring_status",
        ),
        sa.CheckConstraint("(status = 'active') = (completed_at IS NULL)", name="ck_deployment_monitoring_closed"),
        *(
            sa.CheckConstraint(f"{column} {allowed}", name=f"ck_deployment_monitoring_{column}")
            for column, allowed in RULES
        ),
        sa.CheckConstraint("outcome IS NULL OR status = 'completed'", name="ck_deployment_monitoring_outcome"),
        sa.CheckConstraint(
            "outcome IN ('healthy', 'unproven', 'regressed')", name="ck_deployment_monitoring_outcome_value"
        ),
    )
    op.create_index("ix_deployment_monitoring_tool_name", "deployment_monitoring", ["tool_name", "session_id"])
    _unique_where("uq_deployment_monitoring_active", "deployment_monitoring", "status = 'active'")


def _health_checks() -> None:
    op.create_table(
        "deployment_health_checks",
        sa.Column("check_id", sa.Integer, nullable=False),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("session_id", sa.Integer),
        sa.Column("checked_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("baseline_success_rate", sa.Float),
        sa.Column("baseline_total_executions", sa.Integer),
        sa.Column("baseline_avg_duration_ms", sa.Float),
        sa.Column("current_success_rate", sa.Float),
        sa.Column("current_total_executions", sa.Integer),
        sa.Column("current_avg_duration_ms", sa.Float),
        sa.Column("baseline_p50_ms", sa.Float),
        sa.Column("baseline_p95_ms", sa.Float),
        sa.Column("baseline_p99_ms", sa.Float),
        sa.Column("current_p50_ms", sa.Float),
        sa.Column("current_p95_ms", sa.Float),
        sa.Column("current_p99_ms", sa.Float),
        sa.Column("success_rate_drop", sa.Float),
        sa.Column("duration_change", sa.Float),
        sa.Column("performance_degradation", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("regression_detected", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("regression_severity", sa.String(20)),
        sa.Column("needs_rollback", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("verdict", sa.String(20)),
        sa.Column("reasons", JsonText, comment="JSON list of sentences"),
        sa.Column("record", JsonText, comment="JSON: what the verdict can be computed from again"),
        sa.PrimaryKeyConstraint("check_id", name="pk_deployment_health_checks"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["deployment_monitoring.session_id"],
            name="fk_deployment_health_checks_session_id",
        ),
    )
    for column in ("session_id", "tool_name"):
        op.create_index(f"ix_deployment_health_checks_{column}", "deployment_health_checks", [column, "checked_at"])


def _rollbacks() -> None:
    op.create_table(
        "deployment_rollbacks",
        sa.Column("rollback_id", sa.Integer, nullable=False),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("session_id", sa.Integer),
        sa.Column("rollback_time", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("success_rate_drop", sa.Float),
        sa.Column("regression_severity", sa.String(20)),
        sa.Column("rollback_successful", sa.Boolean, nullable=False),
        sa.Column("rollback_type", sa.String(20), nullable=False, server_default="threshold"),
        sa.Column("state", sa.String(20), nullable=False, server_default="finished"),
        sa.Column("from_version", sa.Integer),
        sa.Column("to_version", sa.Integer),
        sa.Column("requested_by", sa.String(255)),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("claimed_at", UTCDateTime),
        sa.Column("restored_at", UTCDateTime),
        sa.Column("finished_at", UTCDateTime),
        sa.Column("error", sa.Text),
        sa.Column("investigation", JsonText, comment="JSON: error signatures since the deployment against before"),
        sa.PrimaryKeyConstraint("rollback_id", name="pk_deployment_rollbacks"),
        sa.UniqueConstraint("session_id", name="uq_deployment_rollbacks_session_id"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["deployment_monitoring.session_id"], name="fk_deployment_rollbacks_session_id"
        ),
        sa.CheckConstraint(
            "state IN ('claimed', 'restored', 'finished', 'failed', 'overtaken')",
            name="ck_deployment_rollbacks_state",
        ),
        sa.CheckConstraint("NOT rollback_successful OR state = 'finished'", name="ck_deployment_rollbacks_successful"),
    )
    op.create_index("ix_deployment_rollbacks_tool_name", "deployment_rollbacks", ["tool_name", "rollback_time"])
    _unique_where("uq_deployment_rollbacks_open", "deployment_rollbacks", "state IN ('claimed', 'restored')")


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.Integer, nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
        sa.Column("event", JsonText, nullable=False),
        sa.Column("delivered_to", JsonText, nullable=False, server_default="[]", comment="JSON list of channels"),
        sa.Column("delivered_at", UTCDateTime),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("next_attempt_at", UTCDateTime, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("notification_id", name="pk_notifications"),
    )
    pending = sa.text("delivered_at IS NULL")
    op.create_index(
        "ix_notifications_pending",
        "notifications",
        ["next_attempt_at"],
        sqlite_where=pending,
        postgresql_where=pending,
    )


def _unique_where(name: str, table: str, condition: str) -> None:
    """At most one row a tool meets the condition."""
    where = sa.text(condition)
    op.create_index(name, table, ["tool_name"], unique=True, sqlite_where=where, postgresql_where=where)


def _views(dialect: str) -> None:
    hours = HOURS[dialect]
    op.execute(ACTIVE_MONITORING.format(hours_elapsed=hours.format(later=NOW[dialect], earlier="m.deployment_time")))
    op.execute(TOOL_HEALTH_HISTORY)
    op.execute(
        DEPLOYMENT_STABILITY.format(
            hours_to_rollback=hours.format(later="r.rollback_time", earlier="m.deployment_time")
        )
    )
