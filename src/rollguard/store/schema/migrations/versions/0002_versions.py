"""Versions of every tool's code, and the times they were live."""

import sqlalchemy as sa
from alembic import op

from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import utc_now

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "tool_versions",
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
        sa.CheckConstraint(
            "kind IN ('initial', 'bugfix', 'enhancement', 'improvement', 'edit')",
            name="ck_tool_versions_kind",
        ),
    )
    op.create_table(
        "tool_deployments",
        sa.Column("deployment_id", sa.Integer, nullable=False),
        sa.Column("tool_name", sa.String(255), nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("deployed_at", UTCDateTime, nullable=False),
        sa.Column("deployed_by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("ended_at", UTCDateTime),
        sa.Column("ended_by", sa.String(20), comment="what took its place: a deployment or a rollback"),
        sa.PrimaryKeyConstraint("deployment_id", name="pk_tool_deployments"),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ck_tool_deployments_ended"),
        sa.CheckConstraint("ended_by IN ('deployment', 'rollback')", name="ck_tool_deployments_ended_by"),
    )
    op.create_index("ix_tool_deployments_tool_name", "tool_deployments", ["tool_name", "deployment_id"])
    live = sa.text("ended_at IS NULL")
    op.create_index(
        "uq_tool_deployments_live",
        "tool_deployments",
        ["tool_name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
