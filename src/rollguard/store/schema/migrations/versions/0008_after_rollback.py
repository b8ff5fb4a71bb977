"""Rollbacks that are observed, capped, made outside the folder, verified; quarantine; sessions shared out."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema import utc_now

revision = "0008"
down_revision = "0007"

STATES = "state IN ('claimed', 'restored', 'finished', 'failed', 'observed', 'capped', 'overtaken')"
VERIFIED = "(verified_at IS NULL) = (verification_success IS NULL)"

# Added with their constraints in one statement, which both databases take without writing the table anew.
RULES = (
    "mode VARCHAR(10) DEFAULT 'act' NOT NULL "
    "CONSTRAINT ck_deployment_monitoring_mode CHECK (mode IN ('act', 'observe'))",
    "max_rollbacks_per_day INTEGER DEFAULT 3 NOT NULL "
    "CONSTRAINT ck_deployment_monitoring_max_rollbacks_per_day CHECK (max_rollbacks_per_day BETWEEN 0 AND 1000)",
)

JOURNAL = (
    "rollback_id, tool_name, session_id, rollback_time, reason, success_rate_drop, regression_severity, "
    "rollback_successful, rollback_type, state, from_version, to_version, requested_by, attempts, claimed_at, "
    "restored_at, finished_at, error, investigation"
)


def upgrade() -> None:
    _sessions()
    if op.get_bind().dialect.name == "postgresql":
        _rollbacks_altered()
    else:
        _rollbacks_written_anew()
    where = sa.text("state = 'finished' AND verification_note IS NULL")
    op.create_index(
        "ix_deployment_rollbacks_unverified",
        "deployment_rollbacks",
        ["rollback_time"],
        sqlite_where=where,
        postgresql_where=where,
    )
    _quarantined_code()
    _tool_actuations()


def _sessions() -> None:
    for column in RULES:
        op.execute(f"ALTER TABLE deployment_monitoring ADD COLUMN {column}")
    op.add_column("deployment_monitoring", sa.Column("watched_by", sa.String(255)))
    op.add_column("deployment_monitoring", sa.Column("watched_until", UTCDateTime))
    if op.get_bind().dialect.name == "postgresql":
        for name, comment in (
            ("mode", "act or observe"),
            ("max_rollbacks_per_day", "automatic rollbacks of the tool in 24 hours; 0 is no limit"),
            ("watched_by", "the watcher that looks after it"),
            ("watched_until", "when another watcher may take it over"),
        ):
            op.execute(f"COMMENT ON COLUMN deployment_monitoring.{name} IS '{comment}'")


def _new_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column(
            "actuator", sa.String(20), nullable=False, server_default="folder", comment="folder, command or webhook"
        ),
        sa.Column("sequence", sa.BigInteger, comment="of the call outside that was acknowledged"),
        sa.Column("output", sa.Text, comment="what the actuator said, its end"),
        sa.Column("next_attempt_at", UTCDateTime, comment="not tried again before"),
        sa.Column(
            "quarantines",
            sa.Boolean,
            nullable=False,
            server_default=sa.false(),
            comment="whether its end quarantines",
        ),
        sa.Column("verified_at", UTCDateTime, comment="when enough calls of the restored version were seen"),
        sa.Column("verification_success", sa.Boolean, comment="whether the restored version recovered"),
        sa.Column("verification_note", sa.Text, comment="what was seen of it, or why nothing could be"),
    ]


def _rollbacks_altered() -> None:
    for column in _new_columns():
        op.add_column("deployment_rollbacks", column)
    op.drop_constraint("ck_deployment_rollbacks_state", "deployment_rollbacks")
    op.create_check_constraint("ck_deployment_rollbacks_state", "deployment_rollbacks", STATES)
    op.create_check_constraint("ck_deployment_rollbacks_verified", "deployment_rollbacks", VERIFIED)


def _rollbacks_written_anew() -> None:
    """SQLite cannot change a constraint, so the table is copied; the views that read it are made again as they were."""
    connection = op.get_bind()
    views = connection.execute(
        sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'view' AND sql LIKE '%deployment_rollbacks%'")
    ).all()
    for name, _sql in views:
        op.execute(f"DROP VIEW {name}")
    op.create_table(
        "deployment_rollbacks_new",
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
        sa.Column("investigation", JsonText),
        *_new_columns(),
        sa.PrimaryKeyConstraint("rollback_id", name="pk_deployment_rollbacks"),
        sa.UniqueConstraint("session_id", name="uq_deployment_rollbacks_session_id"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["deployment_monitoring.session_id"], name="fk_deployment_rollbacks_session_id"
        ),
        sa.CheckConstraint(STATES, name="ck_deployment_rollbacks_state"),
        sa.CheckConstraint("NOT rollback_successful OR state = 'finished'", name="ck_deployment_rollbacks_successful"),
        sa.CheckConstraint(VERIFIED, name="ck_deployment_rollbacks_verified"),
    )
    op.execute(f"INSERT INTO deployment_rollbacks_new ({JOURNAL}) SELECT {JOURNAL} FROM deployment_rollbacks")
    op.drop_table("deployment_rollbacks")
    op.rename_table("deployment_rollbacks_new", "deployment_rollbacks")
    op.create_index("ix_deployment_rollbacks_tool_name", "deployment_rollbacks", ["tool_name", "rollback_time"])
    op.create_index(
        "uq_deployment_rollbacks_open",
        "deployment_rollbacks",
        ["tool_name"],
        unique=True,
        sqlite_where=sa.text("state IN ('claimed', 'restored')"),
    )
    for _name, sql in views:
        op.execute(sql)


def _quarantined_code() -> None:
    op.create_table(
        "quarantined_code",
        sa.Column("quarantine_id", sa.Integer, nullable=False),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("rollback_id", sa.Integer, nullable=False, comment="the rollback that quarantined it"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("quarantined_at", UTCDateTime, nullable=False),
        sa.Column("noticed_at", UTCDateTime, comment="since when the tool's file holds it all the same"),
        sa.Column("lifted_at", UTCDateTime),
        sa.Column("lifted_by", sa.String(255)),
        sa.PrimaryKeyConstraint("quarantine_id", name="pk_quarantined_code"),
        sa.CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="ck_quarantined_code_lifted"),
    )
    where = sa.text("lifted_at IS NULL")
    op.create_index(
        "uq_quarantined_code_in_force",
        "quarantined_code",
        ["tool_name", "sha256"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )


def _tool_actuations() -> None:
    op.create_table(
        "tool_actuations",
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, comment="of the latest call; it only rises"),
        sa.Column("held_by", sa.String(255)),
        sa.Column("held_until", UTCDateTime),
        sa.Column("unsettled_since", UTCDateTime, comment="a call was begun then, and the books do not tell its end"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("next_attempt_at", UTCDateTime),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("tool_name", name="pk_tool_actuations"),
    )
