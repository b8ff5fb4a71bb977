"""The tables as this version of the code knows them. Migrations make them; a test holds the two together.

Times are UTC. What the contract names stands under its own name; the rest is what DESIGN's decisions need.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from rollguard.store.types import BigId, JsonText, UTCDateTime


class utc_now(GenericFunction[datetime]):  # noqa: N801 - named as it reads in SQL
    """The database's own clock, for rows that other programs insert."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(utc_now, "postgresql")
def _now_postgresql(_element: utc_now, _compiler: SQLCompiler, **_: object) -> str:
    return "now()"


@compiles(utc_now, "sqlite")
def _now_sqlite(_element: utc_now, _compiler: SQLCompiler, **_: object) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ONLY_ON = "only_on"  # in the info of what one database alone has: its dialect

tool_executions = Table(
    "tool_executions",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("execution_id", String(255), comment="the caller's id of the call; a repeated one is stored once"),
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer, comment="the version that ran; NULL counts by time"),
    Column("success", Boolean, nullable=False),
    Column("duration_ms", Float),
    Column("error_type", String(255)),
    Column("error", Text),
    Column("parameters", Text, comment="JSON"),
    Column("result", Text, comment="JSON"),
    Column("executed_at", UTCDateTime, nullable=False, server_default=utc_now(), comment="when the call began"),
    Column("request_id", String(255), comment="executions that share one count once, with the last outcome"),
    UniqueConstraint("execution_id", info={ONLY_ON: "sqlite"}),
    CheckConstraint("duration_ms >= 0", name="duration"),
    Index("ix_tool_executions_tool_name_executed_at", "tool_name", "executed_at"),
    Index(
        "ix_tool_executions_request_id",
        "tool_name",
        "request_id",
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    Index(
        "ix_tool_executions_failed",
        "tool_name",
        "executed_at",
        sqlite_where=text("success = 0"),
        postgresql_where=text("NOT success"),
    ),
    Index(
        "uq_tool_executions_ours",
        "execution_id",
        "executed_at",
        unique=True,
        postgresql_where=text("execution_id LIKE 'rg%'"),
        info={ONLY_ON: "postgresql"},
    ),
    postgresql_partition_by="RANGE (executed_at)",  # where the primary key is (id, executed_at), as it has to be
)

# A unique constraint cannot reach across partitions, so this table says which of the callers' own ids are stored. An id
# that Rollguard made holds its time, and so belongs into one partition only: `uq_tool_executions_ours` is enough.
execution_keys = Table(
    "execution_keys",
    metadata,
    Column("execution_id", String(255), primary_key=True),
    Column("executed_at", UTCDateTime, nullable=False),
    Index("ix_execution_keys_executed_at", "executed_at"),
    info={ONLY_ON: "postgresql"},
    comment="every execution_id of the callers' own that is stored, across the partitions",
)

# What is counted in the rollups and to be taken off: all executions of a request but the last.
superseded_executions = Table(
    "superseded_executions",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False, comment="of the row in tool_executions"),
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer),
    Column("success", Boolean, nullable=False),
    Column("duration_ms", Float),
    Column("error_type", String(255)),
    Column("executed_at", UTCDateTime, nullable=False),
    Index("ix_superseded_executions_tool_name", "tool_name", "executed_at"),
    comment="executions whose request was tried again later: counted in the rollups, and taken off the counts",
)

request_arrivals = Table(
    "request_arrivals",
    metadata,
    Column("tool_name", String(255), nullable=False),
    Column("request_id", String(255), nullable=False),
    info={ONLY_ON: "postgresql"},
    comment="requests whose executions arrived and were not looked through yet",
)

tool_versions = Table(
    "tool_versions",
    metadata,
    Column("version_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("code", LargeBinary, nullable=False, comment="the file's bytes, exactly"),
    Column("sha256", String(64), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("created_by", String(255), nullable=False),
    Column("reason", Text),
    Column("parent_version", Integer),
    Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
    UniqueConstraint("tool_name", "version_number"),
    UniqueConstraint("tool_name", "sha256"),
    CheckConstraint("version_number >= 1", name="number"),
    CheckConstraint("kind IN ('initial', 'bugfix', 'enhancement', 'improvement', 'edit', 'rollback')", name="kind"),
)

# Every time a version went live. The row that is not ended is the live pointer.
tool_deployments = Table(
    "tool_deployments",
    metadata,
    Column("deployment_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("deployed_at", UTCDateTime, nullable=False),
    Column("deployed_by", String(255), nullable=False),
    Column("reason", Text),
    Column("ended_at", UTCDateTime),
    Column("ended_by", String(20), comment="what took its place: a deployment or a rollback"),
    Column("kind", String(20), nullable=False, server_default="deployment"),
    CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ended"),
    CheckConstraint("ended_by IN ('deployment', 'rollback')", name="ended_by"),
    CheckConstraint("kind IN ('deployment', 'rollback')", name="kind"),
    Index("ix_tool_deployments_tool_name", "tool_name", "deployment_id"),
    Index(
        "uq_tool_deployments_live",
        "tool_name",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

deployment_monitoring = Table(
    "deployment_monitoring",
    metadata,
    Column("session_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("deployment_time", UTCDateTime, nullable=False),
    Column("monitoring_started_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("monitoring_window_hours", Integer, nullable=False, server_default=text("24")),
    Column("baseline_window_days", Integer, nullable=False, server_default=text("7")),
    Column("regression_threshold", Float, nullable=False, server_default=text("0.15")),
    Column("status", String(50), nullable=False, server_default="active"),
    Column("completed_at", UTCDateTime),
    Column("notes", Text),
    Column("min_executions", Integer, nullable=False, server_default=text("10")),
    Column("alpha", Float, nullable=False, server_default=text("0.05")),
    Column("delta", Float, nullable=False, server_default=text("0")),
    Column("version_number", Integer, comment="the version under watch; NULL counts executions by time alone"),
    Column("live_before", UTCDateTime, comment="when that version was last live before this deployment, if ever"),
    Column("outcome", String(20), comment="of a completed session: healthy, unproven or regressed"),
    Column("baseline", JsonText, comment="JSON: the baseline's counts, once they no longer change"),
    Column("decision", String(20), nullable=False, server_default="threshold"),
    Column("fast_triggers", String(20), nullable=False, server_default="with_evidence"),
    Column("rollback_on_slowdown", Boolean, nullable=False, server_default=false()),
    Column("hold_on_external", Boolean),
    Column("caller_errors", JsonText, nullable=False, server_default="[]"),
    Column("collapse_retries", Float, nullable=False, server_default=text("0")),
    Column("baseline_rule", String(20), nullable=False, server_default="before"),
    Column("extend_until_sufficient", Integer, nullable=False, server_default=text("0")),
    Column("baseline_notes", JsonText, comment="JSON list: what is mixed in the baseline"),
    Column("mode", String(10), nullable=False, server_default="act", comment="act or observe"),
    Column(
        "max_rollbacks_per_day",
        Integer,
        nullable=False,
        server_default=text("3"),
        comment="automatic rollbacks of the tool in 24 hours; 0 is no limit",
    ),
    Column("watched_by", String(255), comment="the watcher that looks after it"),
    Column("watched_until", UTCDateTime, comment="when another watcher may take it over"),
    CheckConstraint("status IN ('active', 'completed', 'rolled_back', 'superseded', 'cancelled')", name="status"),
    CheckConstraint("(status = 'active') = (completed_at IS NULL)", name="closed"),
    CheckConstraint("monitoring_window_hours BETWEEN 1 AND 8760", name="monitoring_window_hours"),
    CheckConstraint("baseline_window_days BETWEEN 1 AND 365", name="baseline_window_days"),
    CheckConstraint("regression_threshold > 0 AND regression_threshold <= 1", name="regression_threshold"),
    CheckConstraint("min_executions BETWEEN 1 AND 1000000", name="min_executions"),
    CheckConstraint("alpha > 0 AND alpha < 0.5", name="alpha"),
    CheckConstraint("delta >= 0 AND delta < 1", name="delta"),
    CheckConstraint("decision IN ('threshold', 'evidence')", name="decision"),
    CheckConstraint("fast_triggers IN ('with_evidence', 'alone', 'off')", name="fast_triggers"),
    CheckConstraint("rollback_on_slowdown IN (FALSE, TRUE)", name="rollback_on_slowdown"),
    CheckConstraint("hold_on_external IN (FALSE, TRUE)", name="hold_on_external"),
    CheckConstraint("caller_errors LIKE '[%]'", name="caller_errors"),
    CheckConstraint("collapse_retries >= 0 AND collapse_retries <= 3600", name="collapse_retries"),
    CheckConstraint("baseline_rule IN ('before', 'same_hours')", name="baseline_rule"),
    CheckConstraint("extend_until_sufficient BETWEEN 0 AND 8760", name="extend_until_sufficient"),
    CheckConstraint("mode IN ('act', 'observe')", name="mode"),
    CheckConstraint("max_rollbacks_per_day BETWEEN 0 AND 1000", name="max_rollbacks_per_day"),
    CheckConstraint("outcome IS NULL OR status = 'completed'", name="outcome"),
    CheckConstraint("outcome IN ('healthy', 'unproven', 'regressed')", name="outcome_value"),
    Index("ix_deployment_monitoring_tool_name", "tool_name", "session_id"),
    Index(
        "uq_deployment_monitoring_active",
        "tool_name",
        unique=True,
        sqlite_where=text("status = 'active'"),
        postgresql_where=text("status = 'active'"),
    ),
)

deployment_health_checks = Table(
    "deployment_health_checks",
    metadata,
    Column("check_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("session_id", Integer, ForeignKey("deployment_monitoring.session_id")),
    Column("checked_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("baseline_success_rate", Float),
    Column("baseline_total_executions", Integer),
    Column("baseline_avg_duration_ms", Float),
    Column("current_success_rate", Float),
    Column("current_total_executions", Integer),
    Column("current_avg_duration_ms", Float),
    Column("baseline_p50_ms", Float),
    Column("baseline_p95_ms", Float),
    Column("baseline_p99_ms", Float),
    Column("current_p50_ms", Float),
    Column("current_p95_ms", Float),
    Column("current_p99_ms", Float),
    Column("success_rate_drop", Float),
    Column("duration_change", Float),
    Column("performance_degradation", Boolean, nullable=False, server_default=false()),
    Column("regression_detected", Boolean, nullable=False, server_default=false()),
    Column("regression_severity", String(20)),
    Column("needs_rollback", Boolean, nullable=False, server_default=false()),
    Column("verdict", String(20)),
    Column("reasons", JsonText, comment="JSON list of sentences"),
    Column("record", JsonText, comment="JSON: what the verdict can be computed from again"),
    Index("ix_deployment_health_checks_session_id", "session_id", "checked_at"),
    Index("ix_deployment_health_checks_tool_name", "tool_name", "checked_at"),
)

# One row a rollback: first its journal, in the end its history. `store/journal.py` has the transitions of `state`.
deployment_rollbacks = Table(
    "deployment_rollbacks",
    metadata,
    Column("rollback_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("session_id", Integer, ForeignKey("deployment_monitoring.session_id")),
    Column("rollback_time", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("reason", Text, nullable=False),
    Column("success_rate_drop", Float),
    Column("regression_severity", String(20)),
    Column("rollback_successful", Boolean, nullable=False),
    Column("rollback_type", String(20), nullable=False, server_default="threshold"),
    Column("state", String(20), nullable=False, server_default="finished"),
    Column("from_version", Integer),
    Column("to_version", Integer),
    Column("requested_by", String(255)),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("claimed_at", UTCDateTime),
    Column("restored_at", UTCDateTime),
    Column("finished_at", UTCDateTime),
    Column("error", Text),
    Column("investigation", JsonText, comment="JSON: error signatures since the deployment against before"),
    Column("actuator", String(20), nullable=False, server_default="folder", comment="folder, command or webhook"),
    Column("sequence", BigInteger, comment="of the call outside that was acknowledged"),
    Column("output", Text, comment="what the actuator said, its end"),
    Column("next_attempt_at", UTCDateTime, comment="not tried again before"),
    Column("quarantines", Boolean, nullable=False, server_default=false(), comment="whether its end quarantines"),
    Column("verified_at", UTCDateTime, comment="when enough calls of the restored version were seen"),
    Column("verification_success", Boolean, comment="whether the restored version recovered"),
    Column("verification_note", Text, comment="what was seen of it, or why nothing could be"),
    UniqueConstraint("session_id"),
    CheckConstraint(
        "state IN ('claimed', 'restored', 'finished', 'failed', 'observed', 'capped', 'overtaken')", name="state"
    ),
    CheckConstraint("NOT rollback_successful OR state = 'finished'", name="successful"),
    CheckConstraint("(verified_at IS NULL) = (verification_success IS NULL)", name="verified"),
    Index("ix_deployment_rollbacks_tool_name", "tool_name", "rollback_time"),
    Index(
        "uq_deployment_rollbacks_open",
        "tool_name",
        unique=True,
        sqlite_where=text("state IN ('claimed', 'restored')"),
        postgresql_where=text("state IN ('claimed', 'restored')"),
    ),
    Index(
        "ix_deployment_rollbacks_unverified",
        "rollback_time",
        sqlite_where=text("state = 'finished' AND verification_note IS NULL"),
        postgresql_where=text("state = 'finished' AND verification_note IS NULL"),
    ),
)

# Code that was rolled back and may not go live again. A row that is not lifted is in force.
quarantined_code = Table(
    "quarantined_code",
    metadata,
    Column("quarantine_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("rollback_id", Integer, nullable=False, comment="the rollback that quarantined it"),
    Column("reason", Text, nullable=False),
    Column("quarantined_at", UTCDateTime, nullable=False),
    Column("noticed_at", UTCDateTime, comment="since when the tool's file holds it all the same"),
    Column("lifted_at", UTCDateTime),
    Column("lifted_by", String(255)),
    CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="lifted"),
    Index(
        "uq_quarantined_code_in_force",
        "tool_name",
        "sha256",
        unique=True,
        sqlite_where=text("lifted_at IS NULL"),
        postgresql_where=text("lifted_at IS NULL"),
    ),
)

# Tools that live elsewhere: who calls the outside for one at this moment, and whether it is known what is live there.
tool_actuations = Table(
    "tool_actuations",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("sequence", BigInteger, nullable=False, comment="of the latest call; it only rises"),
    Column("held_by", String(255)),
    Column("held_until", UTCDateTime),
    Column("unsettled_since", UTCDateTime, comment="a call was begun then, and the books do not tell its end"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", UTCDateTime),
    Column("last_error", Text),
)

# Executions counted per tool, version, error, minute and hour. Exact, whoever inserts them.
tool_execution_rollups = Table(
    "tool_execution_rollups",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("width", Integer, primary_key=True, autoincrement=False, comment="seconds: 60 or 3600"),
    Column("start_at", UTCDateTime, primary_key=True),
    Column("version_number", Integer, primary_key=True, autoincrement=False, comment="0 where none was named"),
    Column("bucket", Integer, primary_key=True, autoincrement=False, comment="of the duration; -1 without one"),
    Column("executions", BigInteger, nullable=False),
    Column("successes", BigInteger, nullable=False),
    Column("duration_sum_ms", Float, nullable=False),
    Column("error_type", String(255), primary_key=True, server_default=""),
    sqlite_with_rowid=False,
)

# Where counting a version may begin: it need not read the rollups of the time before.
tool_version_starts = Table(
    "tool_version_starts",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("version_number", Integer, primary_key=True, autoincrement=False, comment="0 where none was named"),
    Column("first_hour", UTCDateTime, nullable=False),
    sqlite_with_rowid=False,
)

tool_execution_deltas = Table(
    "tool_execution_deltas",
    metadata,
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("minute", UTCDateTime, nullable=False),
    Column("bucket", Integer, nullable=False),
    Column("executions", BigInteger, nullable=False),
    Column("successes", BigInteger, nullable=False),
    Column("duration_sum_ms", Float, nullable=False),
    Column("error_type", String(255), nullable=False, server_default=""),
    comment="counted and not yet folded into the rollups",
)

rollup_state = Table(
    "rollup_state",
    metadata,
    Column("only_row", Integer, primary_key=True, autoincrement=False),
    Column("rolled_to", BigInteger, nullable=False, comment="SQLite: the last id that was rolled up"),
    CheckConstraint("only_row = 1", name="only_row"),
)

# What people are to be told: written in the transaction that made it true, delivered at least once afterwards.
notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", Integer, primary_key=True),
    Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("event", JsonText, nullable=False),
    Column("delivered_to", JsonText, nullable=False, server_default="[]", comment="JSON list of channels"),
    Column("delivered_at", UTCDateTime),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", UTCDateTime, nullable=False),
    Column("last_error", Text),
    Index(
        "ix_notifications_pending",
        "next_attempt_at",
        sqlite_where=text("delivered_at IS NULL"),
        postgresql_where=text("delivered_at IS NULL"),
    ),
)
