"""The tables of versions, deployments, quarantined code and remote actuations."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema.base import POSTGRESQL, metadata, utc_now

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

# Each row is one time that a version was live. The row without an end is the live pointer.
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
    Column("edit_began_at", UTCDateTime, comment="of an edit in the folder: when the first of its saves was served"),
    Column("release_id", Integer, comment="the release that it belongs to"),
    CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ended"),
    CheckConstraint("ended_by IN ('deployment', 'rollback')", name="ended_by"),
    CheckConstraint("kind IN ('deployment', 'rollback')", name="kind"),
    Index("ix_tool_deployments_tool_name", "tool_name", "deployment_id"),
    Index(
        "ix_tool_deployments_release_id",
        "release_id",
        sqlite_where=text("release_id IS NOT NULL"),
        info={POSTGRESQL: {"where": text("release_id IS NOT NULL")}},
    ),
    Index(
        "uq_tool_deployments_live",
        "tool_name",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        info={POSTGRESQL: {"where": text("ended_at IS NULL")}},
    ),
)

# One or several tools that went live together, under a label.
releases = Table(
    "releases",
    metadata,
    Column("release_id", Integer, primary_key=True),
    Column("label", String(128), nullable=False),
    Column("kind", String(20), nullable=False, comment="tools of a folder or of targets, or functions of a program"),
    Column("state", String(20), nullable=False, server_default="live"),
    Column("metadata", JsonText, nullable=False, server_default="{}", comment="JSON object: the caller's own"),
    Column("created_by", String(255), nullable=False),
    Column("reason", Text),
    Column("released_at", UTCDateTime, nullable=False),
    UniqueConstraint("label"),
    CheckConstraint("kind IN ('tools', 'program')", name="kind"),
    CheckConstraint("state IN ('live', 'rolled_back')", name="state"),
)

# What a release consists of, unchanged tools too.
release_tools = Table(
    "release_tools",
    metadata,
    Column("release_id", Integer, primary_key=True, autoincrement=False),
    Column("tool_name", String(255), primary_key=True),
    Column("version_number", Integer, nullable=False),
    Column("before_version", Integer, comment="what was live before; NULL if the release added the tool"),
    Column("changed", Boolean, nullable=False),
    Column("way_back", Boolean, nullable=False, comment="whether a rollback can put an earlier version in its place"),
    Index("ix_release_tools_tool_name", "tool_name", "version_number"),
)

# Code that was rolled back and may not go live again. A row applies until it is lifted.
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
        info={POSTGRESQL: {"where": text("lifted_at IS NULL")}},
    ),
)

# Remote tools: who sends a request to the target now, and whether it is known what is live there.
tool_actuations = Table(
    "tool_actuations",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("sequence", BigInteger, nullable=False, comment="of the latest call; it only rises"),
    Column("held_by", String(255)),
    Column("held_until", UTCDateTime),
    Column("unsettled_since", UTCDateTime, comment="a request began then, and its end is not recorded"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", UTCDateTime),
    Column("last_error", Text),
)
