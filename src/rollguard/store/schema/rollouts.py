"""The table of rollouts: two versions of a tool that serve at once."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema.base import POSTGRESQL, metadata

# One row for each rollout. A row without an end is what processes that serve the tool draw by.
rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("kind", String(20), nullable=False, server_default="canary"),
    Column("session_id", Integer, nullable=False, comment="the session that judges the new version"),
    Column("old_version", Integer, nullable=False, comment="the version that served before"),
    Column("new_version", Integer, nullable=False, comment="the version beside it"),
    Column("state", String(20), nullable=False, server_default="ramping"),
    Column("stage", Integer, nullable=False, server_default=text("0"), comment="its number, from 0 on"),
    Column("share", Float, nullable=False, comment="the probability with which a unit gets the new version"),
    Column("draw_key", LargeBinary, nullable=False, comment="the key of the draw, 32 random bytes"),
    Column("ramp", JsonText, nullable=False, comment="JSON: the plan, and where it is"),
    Column("arms", JsonText, comment="JSON: the counted units of both versions; NULL before the first check"),
    Column("counted_until", UTCDateTime, comment="when the last counted unit was drawn"),
    Column("counted_id", BigInteger, nullable=False, server_default=text("0"), comment="the row of that unit"),
    Column("revision", Integer, nullable=False, server_default=text("1"), comment="rises with every change of state"),
    Column("started_at", UTCDateTime, nullable=False),
    Column("started_by", String(255), nullable=False),
    Column("reason", Text),
    Column("ended_at", UTCDateTime),
    Column("ended_by", String(255), comment="who ended it"),
    Column("ended_why", Text, comment="why, in words"),
    CheckConstraint("kind IN ('canary', 'confirm')", name="kind"),
    CheckConstraint(
        "state IN ('ramping', 'frozen', 'paused', 'promoted', 'rolled_back', 'unproven', 'aborted', 'superseded', "
        "'failed')",
        name="state",
    ),
    CheckConstraint("(state IN ('ramping', 'frozen', 'paused')) = (ended_at IS NULL)", name="ended"),
    CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ended_by"),
    CheckConstraint("share >= 0 AND share <= 1", name="share"),
    CheckConstraint("old_version <> new_version", name="versions"),
    Index("ix_rollouts_tool_name", "tool_name", "rollout_id"),
    Index("ix_rollouts_session_id", "session_id"),
    Index(
        "uq_rollouts_open",
        "tool_name",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        info={POSTGRESQL: {"where": text("ended_at IS NULL")}},
    ),
)
