"""The tables of executions, their ids and their requests."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from rollguard.store.database.types import BigId, UTCDateTime
from rollguard.store.schema.base import ONLY_ON, POSTGRESQL, metadata, utc_now

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
    Column("tags", Text, comment="JSON: the caller's own tags of the call"),
    Column("failed_at", Text, comment="JSON: function, line and text of the innermost line of the tool's own code"),
    Column("traceback", Text),
    Column("score", Float, comment="how right the answer was, 0 to 1"),
    Column("rollout_id", Integer, comment="the rollout in which one of two versions was drawn for the call"),
    Column("stage", Integer, comment="the rollout's stage at whose share it was drawn"),
    Column("arm", String(3), comment="the version that was drawn: new or old"),
    UniqueConstraint("execution_id", info={ONLY_ON: "sqlite"}),
    CheckConstraint("duration_ms >= 0", name="duration"),
    CheckConstraint("duration_ms <= 1e15", name="duration_limit", info={ONLY_ON: "postgresql"}),  # SQLite: a trigger
    CheckConstraint("jsonb_typeof(tags::jsonb) = 'object'", name="tags", info={ONLY_ON: "postgresql"}),  # there too
    CheckConstraint("score >= 0 AND score <= 1", name="score", info={ONLY_ON: "postgresql"}),
    CheckConstraint("jsonb_typeof(failed_at::jsonb) = 'object'", name="failed_at", info={ONLY_ON: "postgresql"}),
    CheckConstraint(
        "(rollout_id IS NULL AND stage IS NULL AND arm IS NULL) OR "
        "(rollout_id >= 1 AND stage >= 0 AND arm IS NOT NULL AND arm IN ('new', 'old'))",
        name="drawn",
        info={ONLY_ON: "postgresql"},
    ),
    Index("ix_tool_executions_tool_name_executed_at", "tool_name", "executed_at"),
    Index(
        "ix_tool_executions_rollout_id",
        "rollout_id",
        "executed_at",
        sqlite_where=text("rollout_id IS NOT NULL"),
        info={POSTGRESQL: {"where": text("rollout_id IS NOT NULL")}},
    ),
    Index(
        "ix_tool_executions_request_id",
        "tool_name",
        "request_id",
        sqlite_where=text("request_id IS NOT NULL"),
        info={POSTGRESQL: {"where": text("request_id IS NOT NULL")}},
    ),
    Index(
        "ix_tool_executions_failed",
        "tool_name",
        "executed_at",
        sqlite_where=text("success = 0"),
        info={POSTGRESQL: {"where": text("NOT success")}},
    ),
    Index(
        "uq_tool_executions_ours",
        "execution_id",
        "executed_at",
        unique=True,
        info={ONLY_ON: "postgresql", POSTGRESQL: {"where": text("execution_id LIKE 'rg%'")}},
    ),
    info={POSTGRESQL: {"partition_by": "RANGE (executed_at)"}},  # there the primary key is (id, executed_at)
)

# A unique constraint cannot span partitions, so this table holds the stored ids of callers. An id of Rollguard contains
# its time, and so belongs to one partition: `uq_tool_executions_ours` is enough for it.
execution_keys = Table(
    "execution_keys",
    metadata,
    Column("execution_id", String(255), primary_key=True),
    Column("executed_at", UTCDateTime, nullable=False),
    Index("ix_execution_keys_executed_at", "executed_at"),
    info={ONLY_ON: "postgresql"},
    comment="every execution_id of the callers' own that is stored, across the partitions",
)

# Executions that the rollups count but windows subtract: all executions of a request except the last.
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
    Column("score", Float),
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

calls_in_flight = Table(
    "calls_in_flight",
    metadata,
    Column("process_id", String(255), primary_key=True, comment="unique for each run of a process"),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer),
    Column("began_at", UTCDateTime, nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("seen_at", UTCDateTime, nullable=False, server_default=utc_now(), comment="by the clock of the database"),
    Column("request_id", String(255), comment="what the call was made for"),
    Column("rollout_id", Integer, comment="the rollout in which its version was drawn"),
    Column("stage", Integer, comment="the rollout's stage"),
    Column("arm", String(3), comment="the version that was drawn: new or old"),
    comment="calls that run for some seconds and have not ended",
)

failure_definitions = Table(
    "failure_definitions",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("timeout_seconds", Float, comment="calls that run longer are failures; NULL sets no limit"),
    Column("in_force_since", UTCDateTime, nullable=False, comment="executions from then on are recorded so"),
    comment="since when a tool's hangs are recorded, by which limit",
)
